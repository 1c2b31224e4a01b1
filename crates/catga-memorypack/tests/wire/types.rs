//! The contract types, with the names of their C# members.
//!
//! Members that are a `string` or a `List<T>` without `?` are an `Option` here: .NET reads null and what is missing as
//! null, and so the cases have it. With a `String` the one would be refused and the other be empty.

use super::{
    kept::{Amount, Map, Money, Set, Sorted},
    show::Show,
};
use bytes::Bytes;
use catga_buf::Str;
use catga_memorypack::{
    DateOnly, DateTime, DateTimeOffset, Decimal, Grid, Half, Lazy, MemoryPack, Pair, Rune, TimeOnly, TimeSpan, Utf16,
    Version,
};
use serde_json::{Map as Object, Value, json};
use std::collections::{BTreeMap, LinkedList, VecDeque};
use uuid::Uuid;

/// Structs whose value is a JSON object of their fields. What is behind `|` is not shown.
macro_rules! contract {
    ($($(#[$meta:meta])* $name:ident $(<$t:ident>)? {
        $($(#[$field_meta:meta])* $field:ident: $ty:ty,)*
        $(| $(#[$hidden_meta:meta])* $hidden:ident: $hidden_ty:ty,)?
    })*) => {
        $(
            #[derive(Clone, Debug, PartialEq, MemoryPack)]
            $(#[$meta])*
            pub struct $name $(<$t>)? {
                $($(#[$field_meta])* pub $field: $ty,)*
                $($(#[$hidden_meta])* pub $hidden: $hidden_ty,)?
            }

            contract! { @show $name $($t)? { $($field,)* } }
        )*
    };
    (@show $name:ident $t:ident { $($field:ident,)* }) => {
        impl<$t: Show> Show for $name<$t> {
            fn show(&self) -> Value {
                Value::Object(Object::from_iter([$((stringify!($field).to_owned(), self.$field.show()),)*]))
            }
        }
    };
    (@show $name:ident { $($field:ident,)* }) => {
        impl Show for $name {
            fn show(&self) -> Value {
                Value::Object(Object::from_iter([$((stringify!($field).to_owned(), self.$field.show()),)*]))
            }
        }
    };
}

contract! {
    Scalars {
        B: bool, U8: u8, I8: i8, I16: i16, U16: u16, I32: i32, U32: u32, I64: i64, U64: u64, F32: f32, F64: f64, C: u16,
        Dec: Decimal, Id: Uuid, At: DateTime, AtOffset: DateTimeOffset, Span: TimeSpan, Day: DateOnly, Time: TimeOnly,
        I128: i128, U128: u128, F16: Half,
    }
    Nullables {
        B: Option<bool>, U8: Option<u8>, I16: Option<i16>, I32: Option<i32>, I64: Option<i64>, F32: Option<f32>,
        F64: Option<f64>, C: Option<u16>, Dec: Option<Decimal>, Id: Option<Uuid>, At: Option<DateTime>,
        AtOffset: Option<DateTimeOffset>, Span: Option<TimeSpan>, Day: Option<DateOnly>, Paint: Option<Color>,
        Pad: Option<Padded>, Price: Option<Money>, Text: Option<String>, Raw: Option<Bytes>, Child: Option<Box<Tiny>>,
    }
    MoreNullables {
        I8: Option<i8>, U16: Option<u16>, U32: Option<u32>, U64: Option<u64>, F16: Option<Half>, Time: Option<TimeOnly>,
        I128: Option<i128>, U128: Option<u128>, S: Option<Small>, W: Option<Wide>, Point: Option<Point3>,
        Mix: Option<Mixed>, Stamp: Option<Stamps>, Worth: Option<Amount>, Pair: Option<Pair<u8, i32>>,
        Longs: Option<Vec<Option<i64>>>, Prices: Option<Vec<Option<Money>>>, ById: Option<Map<i32, Option<i16>>>,
        Ints: Option<Vec<Option<i32>>>,
    }
    #[repr(C)] Padded { A: u8, B: i32, C: i16, }
    #[repr(C)] Point3 { X: f32, Y: f32, Z: f32, }
    #[repr(C)] Mixed { A: u8, B: i64, C: u8, D: f64, E: bool, }
    #[repr(C)] Nested { P: Padded, Q: u8, R: Point3, }
    #[repr(C)] WithGuid { A: u8, G: Uuid, B: i32, }
    #[repr(C)] Stamps { A: u8, At: DateTime, B: i16, AtOffset: DateTimeOffset, Day: DateOnly, C: u8, }
    #[repr(C)] Aligned {
        A: u8, D: Decimal, B: u8, I: i128, C: u8, H: Half, Ch: u16, N: Option<i32>, M: Option<u8>, K: Pair<u8, i32>,
    }
    Strings {
        A: Option<String>, B: Option<Str>, C: Option<Box<str>>, Many: Option<Vec<String>>,
        List: Option<Vec<Option<Str>>>,
    }
    Enums { C: Color, S: Small, W: Wide, F: Bits, Cs: Option<Vec<Color>>, Ss: Option<Box<[Small]>>, }
    Tiny { A: u64, B: u32, C: u32, }
    OrderItem { Sku: Option<String>, Qty: u32, Price: f64, }
    Order { Id: u64, Customer: Option<String>, Items: Option<Vec<OrderItem>>, Ts: u64, }
    OrderCreated {
        OrderId: Option<String>, CustomerId: Option<String>, Total: Decimal, At: DateTime, Items: Option<Vec<OrderItem>>, Note: Option<String>,
    }
    Collections {
        Bytes: Option<Bytes>, Ints: Option<Vec<i32>>, Doubles: Option<Vec<f64>>, Bools: Option<Vec<bool>>,
        Guids: Option<Vec<Uuid>>, Times: Option<Vec<DateTime>>, ListInt: Option<Box<[i32]>>,
        ListNullable: Option<Vec<Option<i32>>>, ListList: Option<Vec<Vec<i32>>>, Objects: Option<Vec<Option<Tiny>>>,
        Structs: Option<Vec<Padded>>, Points: Option<Vec<Point3>>, Moneys: Option<Vec<Money>>, Set: Option<Set<i32>>,
        Queue: Option<VecDeque<String>>, Stack: Option<VecDeque<i32>>, Linked: Option<LinkedList<i64>>,
        Sorted: Option<Sorted>, Rom: Bytes, Segment: Vec<i32>, ReadOnly: Option<Vec<i32>>,
        Decimals: Option<Vec<Decimal>>,
    }
    Maps {
        IntLong: Option<Map<i32, i64>>, LongInt: Option<Map<i64, i32>>, ByteDouble: Option<Map<u8, f64>>,
        StringInt: Option<Map<String, i32>>, GuidString: Option<Map<Uuid, Option<String>>>,
        StringObject: Option<Map<String, Option<Tiny>>>, EnumList: Option<Map<Color, Vec<String>>>,
        Sorted: Option<BTreeMap<i32, String>>, Deep: Option<Map<String, Map<String, i32>>>,
        IntStruct: Option<Map<i32, Padded>>, Pairs: Option<Vec<Pair<i32, String>>>, Pair: Pair<i16, i64>,
    }
    Tuples {
        A: (i32, Option<String>), B: (Option<String>, Option<String>, i64), C: Option<ClassTuple>, D: (i32, i32), E: (i64, u8),
        F: Option<Vec<(String, i32)>>,
    }
    Node { Value: i32, Left: Option<Box<Node>>, Right: Option<Box<Node>>, Others: Option<Vec<Option<Node>>>, }
    Generic<T> { Id: i32, Value: T, Values: Option<Vec<T>>, }
    BaseClass { BaseId: i32, BaseName: Option<String>, }
    Derived { BaseId: i32, BaseName: Option<String>, Extra: i64, Tail: Option<String>, }
    Empty {}
    Ordered {
        #[memorypack(order = 2)] Third: i32,
        #[memorypack(order = 0)] First: Option<String>,
        #[memorypack(order = 1)] Second: i64,
    }
    Ignoring { Keep: i32, hidden: i32, Also: Option<String>, | #[memorypack(skip)] Drop: i32, }
    PersonV1 { Id: i32, Name: Option<String>, }
    PersonV2 { Id: i32, Name: Option<String>, Age: Option<i32>, Tags: Option<Vec<String>>, }
    #[memorypack(version_tolerant)] DocV1 { Id: i32, Title: Option<String>, }
    #[memorypack(version_tolerant)] DocV2 { Id: i32, Title: Option<String>, Size: i64, Tags: Option<Vec<String>>, }
    #[memorypack(version_tolerant)] DocV3 {
        #[memorypack(order = 0)] Id: i32,
        #[memorypack(order = 2)] Size: i64,
        #[memorypack(order = 5)] Note: Option<String>,
    }
    #[memorypack(version_tolerant)] Folder {
        #[memorypack(order = 0)] Name: Option<String>,
        #[memorypack(order = 1)] Main: Option<DocV2>,
        #[memorypack(order = 3)] Docs: Option<Vec<Option<DocV1>>>,
        #[memorypack(order = 4)] Shape: Option<IShape>,
        #[memorypack(order = 5)] Pad: Padded,
        #[memorypack(order = 6)] Price: Option<Money>,
        #[memorypack(order = 7)] At: Option<DateTime>,
    }
    Circle { Radius: f64, }
    Square { Side: f64, Label: Option<String>, }
    Edge { N: i32, }
    Disc { Size: u8, }
    Words { Value: Option<String>, Inner: Option<Box<IShape>>, }
    Drawing { Name: Option<String>, Main: Option<IShape>, Shapes: Option<Vec<Option<IShape>>>, }
    Odd {
        Link: Option<String>, Ver: Option<Version>, Sb: Option<Utf16>, Rune: Rune, Grid: Option<Grid<i32>>,
        Lazy: Option<Lazy<i32>>,
    }
}

impl Show for Money {
    fn show(&self) -> Value {
        json!({ "Currency": self.Currency, "Minor": self.Minor.show() })
    }
}

impl Show for Amount {
    fn show(&self) -> Value {
        json!({ "Currency": self.Currency, "Value": self.Value.show() })
    }
}

/// A `System.Tuple<int, string>`.
#[derive(Clone, Debug, PartialEq, MemoryPack)]
#[memorypack(exact)]
pub struct ClassTuple(i32, Option<String>);

impl Show for ClassTuple {
    fn show(&self) -> Value {
        json!([self.0, self.1])
    }
}

/// An interface: newtypes and variants with fields of their own are the same bytes.
#[derive(Clone, Debug, PartialEq, MemoryPack)]
#[memorypack(union)]
pub enum IShape {
    #[memorypack(tag = 0)]
    Circle(Circle),
    #[memorypack(tag = 1)]
    Square { Side: f64, Label: Option<String> },
    #[memorypack(tag = 249)]
    Edge(Edge),
    #[memorypack(tag = 250)]
    Disc(Box<Disc>),
    #[memorypack(tag = 300)]
    Text { Value: Option<String>, Inner: Option<Box<IShape>> },
}

impl Show for IShape {
    fn show(&self) -> Value {
        let (tag, value) = match self {
            Self::Circle(object) => (0, object.show()),
            Self::Square { Side, Label } => (1, json!({ "Side": Side.show(), "Label": Label.show() })),
            Self::Edge(object) => (249, object.show()),
            Self::Disc(object) => (250, object.show()),
            Self::Text { Value, Inner } => (300, json!({ "Value": Value.show(), "Inner": Inner.show() })),
        };
        json!({ "tag": tag, "value": value })
    }
}

macro_rules! enums {
    ($($(#[$meta:meta])* $name:ident: $integer:ident { $($variant:ident = $number:expr,)* })*) => {
        $(
            #[derive(Clone, Copy, Debug, PartialEq, Eq, MemoryPack)]
            $(#[$meta])*
            pub enum $name {
                $($variant = $number,)*
            }

            impl Show for $name {
                fn show(&self) -> Value {
                    (*self as $integer).show()
                }
            }
        )*
    };
}
enums! {
    Color: i32 { Red = 0, Green = 5, Blue = -3, }
    #[repr(u8)] Small: u8 { A = 0, B = 200, }
}

/// .NET's default is 0, whether an enum has a name for it or not, and the file has such values: so this one is a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, MemoryPack)]
#[memorypack(transparent)]
pub struct Wide(i64);

/// A set of flags is a number, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, MemoryPack)]
#[memorypack(transparent)]
pub struct Bits(u16);

impl Show for Wide {
    fn show(&self) -> Value {
        self.0.show()
    }
}

impl Show for Bits {
    fn show(&self) -> Value {
        self.0.show()
    }
}
