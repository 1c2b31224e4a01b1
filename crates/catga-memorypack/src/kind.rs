//! What .NET would call the type: it decides what `null` looks like, and whether a value is a piece of raw memory.

/// How a type stands on the wire.
///
/// The derive and the types of this crate compute it; code that implements [`Shape`](crate::Shape) by hand names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Unmanaged: its bytes are a memory image of fixed size.
    Raw(Layout),
    /// Starts with a length of four bytes, and -1 is null: strings, collections, maps.
    Length,
    /// Starts with a byte that is 255 for null: objects and unions.
    Object,
    /// A struct with references, of at least this many bytes: its `Option` is 255, or 1 and the value.
    Value(usize),
    /// An `Option` of one of the last three, of at least this many bytes. It has no `Option` of its own.
    Nullable(usize),
}

/// Size and place of a piece of raw memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Its bytes on the wire, padding included.
    pub size: usize,
    /// It starts at a multiple of this inside a raw struct: a power of two, at most 16.
    pub align: usize,
    /// One of the types that .NET calls primitive, or an enum: tuples are laid out with these in front.
    pub primitive: bool,
    /// An `Option` of one, which has no `Option` of its own.
    pub optional: bool,
}

impl Layout {
    /// A primitive of `size` bytes, aligned to its size.
    pub const fn primitive(size: usize) -> Self {
        Self { size, align: size, primitive: true, optional: false }
    }

    /// Another value type.
    pub const fn of(size: usize, align: usize) -> Self {
        Self { size, align, primitive: false, optional: false }
    }
}

impl Kind {
    /// The size of raw memory, 0 for other kinds.
    pub const fn raw(self) -> usize {
        match self {
            Self::Raw(layout) => layout.size,
            _ => 0,
        }
    }

    /// The fewest bytes that a value takes.
    pub const fn min(self) -> usize {
        match self {
            Self::Raw(layout) => layout.size,
            Self::Length => 4,
            Self::Object => 1,
            Self::Value(min) | Self::Nullable(min) => min,
        }
    }

    /// The kind of an `Option` of it.
    pub(crate) const fn optional(self) -> Self {
        match self {
            Self::Raw(Layout { size, align, optional: false, .. }) => {
                Self::Raw(Layout { size: align + size, align, primitive: false, optional: true })
            }
            Self::Length => Self::Nullable(4),
            Self::Object | Self::Value(_) => Self::Nullable(1),
            Self::Raw(_) | Self::Nullable(_) => {
                panic!(".NET has no `T??`: an `Option<Option<T>>` cannot be told from an `Option<T>`")
            }
        }
    }

    /// The kind of a `Box` or `Arc` of it.
    pub(crate) const fn boxed(self) -> Self {
        match self {
            Self::Raw(_) => panic!(".NET does not box numbers and raw structs: use the value without `Box` or `Arc`"),
            other => other,
        }
    }
}

const fn up(at: usize, align: usize) -> usize {
    at.div_ceil(align) * align
}

/// Where the raw part `index` starts in a struct laid out as `#[repr(C)]` does, and its layout.
const fn place(parts: &[Kind], index: usize) -> (usize, usize) {
    let (mut end, mut part) = (0, 0);
    loop {
        let Kind::Raw(layout) = parts[part] else {
            panic!("a raw struct holds only raw fields: numbers, bool, enums, times, guids, other raw structs")
        };
        let start = up(end, layout.align);
        if part == index {
            return (start, end);
        }
        end = start + layout.size;
        part += 1;
    }
}

/// The kind of a struct of these raw parts, laid out as `#[repr(C)]` and `LayoutKind.Sequential` do.
pub const fn sequential(parts: &[Kind]) -> Kind {
    let (mut end, mut align, mut part) = (0, 1, 0);
    while part < parts.len() {
        let (start, _) = place(parts, part);
        if let Kind::Raw(layout) = parts[part] {
            end = start + layout.size;
            if layout.align > align {
                align = layout.align;
            }
        }
        part += 1;
    }
    Kind::Raw(Layout::of(up(end, align), align))
}

/// The padding in front of the raw part `index`; behind the last one where `index` is their number.
pub const fn pad(parts: &[Kind], index: usize) -> usize {
    if index < parts.len() {
        let (start, end) = place(parts, index);
        return start - end;
    }
    let (start, _) = place(parts, index - 1);
    sequential(parts).raw() - start - parts[index - 1].raw()
}

/// The bytes of the parts where all are raw, else 0. Encoder and decoder test for all of them once.
pub const fn run(parts: &[Kind]) -> usize {
    if all_raw(parts) { sum(parts) } else { 0 }
}

/// Whether each part is raw.
pub(crate) const fn all_raw(parts: &[Kind]) -> bool {
    let mut part = 0;
    while part < parts.len() {
        if parts[part].raw() == 0 {
            return false;
        }
        part += 1;
    }
    true
}

/// The fewest bytes of all parts.
pub(crate) const fn sum(parts: &[Kind]) -> usize {
    let (mut part, mut size) = (0, 0);
    while part < parts.len() {
        size += parts[part].min();
        part += 1;
    }
    size
}

/// The kind of a .NET value tuple. The runtime moves the parts of raw ones about, so only those are allowed that it
/// leaves as they are.
pub(crate) const fn tuple(parts: &[Kind]) -> Kind {
    if !all_raw(parts) {
        return Kind::Value(sum(parts));
    }
    let Kind::Raw(declared) = sequential(parts) else { panic!() };
    let (mut part, mut last, mut others, mut fine, mut end) = (0, usize::MAX, false, true, 0);
    while part < parts.len() {
        if let Kind::Raw(layout) = parts[part] {
            fine &= !layout.primitive || (!others && layout.size <= last);
            others |= !layout.primitive;
            last = layout.size;
            end = up(end, layout.align) + layout.size;
        }
        part += 1;
    }
    let size = if end > 8 { up(end, 8) } else { end.next_power_of_two() };
    assert!(
        fine && size == declared.size,
        ".NET reorders the fields of a tuple of raw values: use a `#[repr(C)]` struct, or put larger numbers first"
    );
    Kind::Raw(declared)
}
