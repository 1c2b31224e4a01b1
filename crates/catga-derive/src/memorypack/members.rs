//! The fields that are written, in their order, and the code that reads and writes them in a row.

use super::attributes::FieldOptions;
use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use std::collections::BTreeMap;
use syn::{Error, Fields, Ident, Index, Lifetime, Member as Name, Path, Result, Type, ext::IdentExt as _};

/// A field that is written.
pub(super) struct Member {
    pub(super) name: Name,
    /// What messages call it.
    pub(super) label: String,
    pub(super) ty: Type,
    /// The variable that holds it, or borrows it, in the emitted code.
    pub(super) variable: Ident,
}

/// The fields of a struct or variant.
pub(super) struct Members {
    /// By their order; `None` is a gap.
    pub(super) slots: Vec<Option<Member>>,
    pub(super) skipped: Vec<Name>,
}

/// Most members of an object.
const MOST: usize = 249;

impl Members {
    /// Reads the fields of an object. Orders may have gaps where its header has room for them.
    pub(super) fn of(fields: &Fields, gaps: bool, at: Span) -> Result<Self> {
        let (mut orders, mut skipped, mut free) = (BTreeMap::new(), Vec::new(), 0_usize);
        let mut unordered = None;
        for (index, field) in fields.iter().enumerate() {
            let name = match &field.ident {
                Some(ident) => Name::Named(ident.clone()),
                None => Name::Unnamed(Index::from(index)),
            };
            let label = match &name {
                Name::Named(ident) => ident.unraw().to_string(),
                Name::Unnamed(index) => index.index.to_string(),
            };
            let options = FieldOptions::of(field)?;
            if options.skip.is_some() {
                skipped.push(name);
                continue;
            }
            let variable = format_ident!("__f{index}");
            let member = Member { name, label, ty: field.ty.clone(), variable };
            let (order, span) = match options.order {
                Some((order, span)) => (order.into(), span),
                None => {
                    unordered = Some(field);
                    free += 1;
                    (free - 1, at)
                }
            };
            if orders.insert(order, member).is_some() && unordered.is_none() {
                return Err(Error::new(span, format!("two members have the order {order}")));
            }
        }
        if let (Some(field), true) = (unordered, free < orders.len() || free != fields.len() - skipped.len()) {
            return Err(Error::new_spanned(field, "either all members have an `order` or none: this one has none"));
        }
        let count = orders.keys().next_back().map_or(0, |last| last + 1);
        if count > MOST {
            let text = format!("a MemoryPack object has at most {MOST} members: move some into an object of their own");
            return Err(Error::new(at, text));
        }
        let slots: Vec<_> = (0..count).map(|order| orders.remove(&order)).collect();
        match slots.iter().position(Option::is_none) {
            Some(gap) if !gaps => {
                let text = format!(
                    "no member has the order {gap}: without `#[memorypack(version_tolerant)]` an object has no gaps"
                );
                Err(Error::new(at, text))
            }
            _ => Ok(Self { slots, skipped }),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.slots.iter().flatten()
    }

    pub(super) fn types(&self) -> Vec<Type> {
        self.iter().map(|member| member.ty.clone()).collect()
    }

    /// The pattern that binds the members, for `Self` or a variant.
    pub(super) fn pattern(&self, path: &TokenStream) -> TokenStream {
        let (names, variables): (Vec<_>, Vec<_>) = self.iter().map(|member| (&member.name, &member.variable)).unzip();
        quote!(#path { #(#names: #variables,)* .. })
    }

    /// The value made of the variables.
    pub(super) fn value(&self, path: &TokenStream) -> TokenStream {
        let (names, variables): (Vec<_>, Vec<_>) = self.iter().map(|member| (&member.name, &member.variable)).unzip();
        let skipped = &self.skipped;
        quote!(#path { #(#names: #variables,)* #(#skipped: ::core::default::Default::default(),)* })
    }

    /// The members in pieces: those in a row that look raw, and each other one alone.
    pub(super) fn pieces(&self) -> Vec<Vec<&Member>> {
        let mut pieces: Vec<Vec<&Member>> = Vec::new();
        let mut open = false;
        for member in self.iter() {
            let raw = looks_raw(&member.ty);
            match pieces.last_mut() {
                Some(piece) if open && raw => piece.push(member),
                _ => pieces.push(vec![member]),
            }
            open = raw;
        }
        pieces
    }
}

/// Whether the type is probably raw memory. What it is, its constant says; this only decides which ones are tested
/// together.
fn looks_raw(ty: &Type) -> bool {
    const RAW: &[&str] = &[
        "bool",
        "u8",
        "i8",
        "u16",
        "i16",
        "u32",
        "i32",
        "u64",
        "i64",
        "u128",
        "i128",
        "f32",
        "f64",
        "char",
        "Uuid",
        "DateTime",
        "DateTimeOffset",
        "TimeSpan",
        "DateOnly",
        "TimeOnly",
        "Duration",
        "Decimal",
        "Half",
        "Rune",
    ];
    let Type::Path(path) = ty else { return false };
    path.path.segments.last().is_some_and(|last| last.arguments.is_none() && RAW.iter().any(|name| last.ident == name))
}

/// What is done with the members that are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Each becomes a variable.
    Make,
    /// Each is read over the old one that a variable borrows.
    InPlace,
    /// Each is tested.
    Check,
}

/// What the code that reads needs to know.
pub(super) struct Names<'a> {
    pub(super) krate: &'a Path,
    pub(super) de: &'a Lifetime,
    pub(super) type_name: &'a str,
}

impl Names<'_> {
    /// The value of the `Result`, or a return with the error, which is told the type and the field.
    pub(super) fn attempt(&self, result: TokenStream, field: &str) -> TokenStream {
        let type_name = self.type_name;
        quote! {
            match #result {
                ::core::result::Result::Ok(__value) => __value,
                ::core::result::Result::Err(__error) => {
                    return ::core::result::Result::Err(__error.within(#type_name, #field));
                }
            }
        }
    }

    /// Reads a member off `reader`.
    pub(super) fn present(&self, member: &Member, reading: Reading, reader: &TokenStream) -> TokenStream {
        let Member { ty, variable, label, .. } = member;
        let (krate, de) = (self.krate, self.de);
        let decode = quote!(<#ty as #krate::Decode<#de>>);
        match reading {
            Reading::Make => {
                let value = self.attempt(quote!(#decode::decode(#reader)), label);
                quote!(#variable = #value;)
            }
            Reading::InPlace => self.attempt(quote!(#decode::decode_in_place(#variable, #reader)), label),
            Reading::Check => self.attempt(quote!(#decode::check(#reader)), label),
        }
    }

    /// Makes a member that is not there.
    pub(super) fn missing(&self, member: &Member, reading: Reading) -> TokenStream {
        let Member { ty, variable, label, .. } = member;
        let value = self.attempt(quote!(__reader.missing::<#ty>()), label);
        match reading {
            Reading::Make => quote!(#variable = #value;),
            Reading::InPlace => quote!(*#variable = #value;),
            Reading::Check => quote!(let _: #ty = #value;),
        }
    }

    /// The variables that reading fills.
    pub(super) fn declare(&self, members: &Members, reading: Reading) -> TokenStream {
        let variables = members.iter().map(|member| &member.variable);
        match reading {
            Reading::Make => quote!(#(let #variables;)*),
            _ => TokenStream::new(),
        }
    }

    /// Reads all members, those that are raw and stand in a row with one test for their bytes.
    pub(super) fn all(&self, members: &Members, reading: Reading) -> TokenStream {
        let krate = self.krate;
        let pieces = members.pieces().into_iter().map(|piece| {
            let each = |reader: &TokenStream| -> TokenStream {
                piece.iter().map(|member| self.present(member, reading, reader)).collect()
            };
            let apart = each(&quote!(__reader));
            let [first, _, ..] = piece[..] else { return apart };
            let types = piece.iter().map(|member| &member.ty);
            let size = quote!(const { #krate::__private::run(&[#(<#types as #krate::Shape>::KIND),*]) });
            let run = self.attempt(quote!(__reader.run(#size)), &first.label);
            let together = each(&quote!(&mut __run));
            quote! {
                if #size > 0 {
                    let mut __run = #run;
                    #together
                } else {
                    #apart
                }
            }
        });
        pieces.collect()
    }
}
