//! `#[memorypack(...)]` and `#[repr(...)]` on types, fields and variants.

use proc_macro2::Span;
use syn::{
    Attribute, Data, DeriveInput, Error, Field, Ident, LitInt, LitStr, Path, Result, Variant, ext::IdentExt as _,
    meta::ParseNestedMeta, spanned::Spanned as _,
};

/// What the type is to .NET.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// A class, a record, or with `value_type` a struct with references.
    Object,
    VersionTolerant,
    Union,
    /// A struct of raw memory: `#[repr(C)]`.
    Raw,
    /// What its only field is.
    Transparent,
}

/// What the attributes of a type say.
pub(super) struct Options {
    pub(super) mode: Mode,
    pub(super) value_type: bool,
    pub(super) exact: bool,
    pub(super) krate: Path,
    /// The integer of a `#[repr(...)]`.
    pub(super) integer: Option<Ident>,
}

impl Options {
    /// Those of the type; `krate` is where the emitted code finds `catga-memorypack` unless they say otherwise.
    pub(super) fn of(input: &DeriveInput, krate: &str) -> Result<Self> {
        let (mut mode, mut value_type, mut exact) = (None, None, None);
        let mut krate: Path = syn::parse_str(krate)?;
        each(&input.attrs, "memorypack", |meta| {
            let name = meta.path.get_ident().map(|ident| ident.unraw().to_string()).unwrap_or_default();
            let mut choose = |chosen: Mode| match mode.replace((chosen, meta.path.span())) {
                Some(_) => Err(meta.error("a type has one mode")),
                None => Ok(()),
            };
            match name.as_str() {
                "union" => choose(Mode::Union),
                "version_tolerant" => choose(Mode::VersionTolerant),
                "transparent" => choose(Mode::Transparent),
                "value_type" => set(&mut value_type, &meta),
                "exact" => set(&mut exact, &meta),
                "crate" => {
                    let value = meta.value()?;
                    krate = match value.peek(LitStr) {
                        true => value.parse::<LitStr>()?.parse_with(Path::parse_mod_style)?,
                        false => value.call(Path::parse_mod_style)?,
                    };
                    Ok(())
                }
                _ => Err(meta.error(
                    "on a type stand `union`, `version_tolerant`, `transparent`, `value_type`, `exact` and `crate = \"…\"`",
                )),
            }
        })?;
        let repr = Repr::of(&input.attrs)?;
        let mode = match (mode, repr.c, &input.data) {
            (Some((_, span)), Some(_), _) => {
                let text =
                    "a `#[repr(C)]` struct is raw memory, which has no modes and no header: remove one of the two";
                return Err(Error::new(span, text));
            }
            (None, Some(_), Data::Struct(_)) => Mode::Raw,
            (None, ..) => Mode::Object,
            (Some((Mode::Union, span)), _, Data::Struct(_)) => {
                let text = "a union is an enum: one variant for each `[MemoryPackUnion(tag, type)]`";
                return Err(Error::new(span, text));
            }
            (Some((mode, span)), _, Data::Enum(_)) if mode != Mode::Union => {
                return Err(Error::new(span, "this is for structs"));
            }
            (Some((mode, _)), ..) => mode,
        };
        for span in [value_type, exact].into_iter().flatten() {
            if mode != Mode::Object || matches!(input.data, Data::Enum(_)) {
                return Err(Error::new(span, "this is for structs in object mode, which have a header of members"));
            }
        }
        let (value_type, exact) = (value_type.is_some(), exact.is_some());
        Ok(Self { mode, value_type, exact, krate, integer: repr.integer })
    }
}

/// What `#[repr(...)]` says.
#[derive(Default)]
struct Repr {
    c: Option<Span>,
    integer: Option<Ident>,
}

impl Repr {
    fn of(attributes: &[Attribute]) -> Result<Self> {
        let mut repr = Self::default();
        let mut moved = None;
        each(attributes, "repr", |meta| {
            let Some(ident) = meta.path.get_ident() else { return Ok(()) };
            match ident.to_string().as_str() {
                "C" => repr.c = Some(ident.span()),
                "packed" | "align" => {
                    moved = Some(ident.span());
                    if meta.input.peek(syn::token::Paren) {
                        let content;
                        syn::parenthesized!(content in meta.input);
                        content.parse::<LitInt>()?;
                    }
                }
                "transparent" => {}
                _ => repr.integer = Some(ident.clone()),
            }
            Ok(())
        })?;
        match (repr.c, moved) {
            (Some(_), Some(span)) => {
                let text = "raw structs are laid out as `LayoutKind.Sequential` does, without packing and alignment of \
                            their own: leave this away";
                Err(Error::new(span, text))
            }
            _ => Ok(repr),
        }
    }
}

/// What the attributes of a field say.
pub(super) struct FieldOptions {
    pub(super) order: Option<(u8, Span)>,
    pub(super) skip: Option<Span>,
}

impl FieldOptions {
    pub(super) fn of(field: &Field) -> Result<Self> {
        let mut options = Self { order: None, skip: None };
        each(&field.attrs, "memorypack", |meta| {
            if meta.path.is_ident("skip") {
                options.skip = Some(meta.path.span());
                return Ok(());
            }
            if !meta.path.is_ident("order") {
                return Err(meta.error("on a field stand `order = …` and `skip`"));
            }
            let number: LitInt = meta.value()?.parse()?;
            let order = number.base10_parse().ok().filter(|order: &u8| *order < 249);
            let text = "an object has at most 249 members, so their orders are 0 to 248";
            options.order = Some((order.ok_or_else(|| Error::new(number.span(), text))?, number.span()));
            Ok(())
        })?;
        match (options.order, options.skip) {
            (Some((_, span)), Some(_)) => Err(Error::new(span, "what is skipped has no order")),
            _ => Ok(options),
        }
    }
}

/// The tag of a variant.
pub(super) fn tag(variant: &Variant) -> Result<Option<(u16, Span)>> {
    let mut tag = None;
    each(&variant.attrs, "memorypack", |meta| {
        if !meta.path.is_ident("tag") {
            return Err(meta.error("on a variant stands `tag = …`"));
        }
        let number: LitInt = meta.value()?.parse()?;
        let value = number.base10_parse().map_err(|_| Error::new(number.span(), "tags are 0 to 65535"))?;
        tag = Some((value, number.span()));
        Ok(())
    })?;
    Ok(tag)
}

/// Notes where a flag stands.
fn set(flag: &mut Option<Span>, meta: &ParseNestedMeta<'_>) -> Result<()> {
    *flag = Some(meta.path.span());
    Ok(())
}

fn each(attributes: &[Attribute], name: &str, mut read: impl FnMut(ParseNestedMeta<'_>) -> Result<()>) -> Result<()> {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident(name))
        .try_for_each(|attribute| attribute.parse_nested_meta(&mut read))
}

/// Refuses attributes where they mean nothing.
pub(super) fn refuse(attributes: &[Attribute], text: &str) -> Result<()> {
    match attributes.iter().find(|attribute| attribute.path().is_ident("memorypack")) {
        Some(attribute) => Err(Error::new_spanned(attribute, text)),
        None => Ok(()),
    }
}
