//! `#[catga(...)]` as a struct, with every error found on the way reported at once.
//!
//! Long because the attributes are read and judged in one place, tests included.

use crate::expand::moved;
use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens as _, quote};
use std::fmt::Display;
use syn::{
    Attribute, Data, DeriveInput, Error, Field, GenericParam, Ident, Index, LitInt, LitStr, Member, Path, Result,
    Token, Type,
    ext::IdentExt as _,
    parse::{Parse, ParseStream, discouraged::Speculative as _},
    parse_quote,
};

/// Which of the two derives is expanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Event,
}

/// What the attributes of one type say, with defaults filled in and each value checked against the type.
pub(crate) struct Attributes {
    pub(crate) name: LitStr,
    pub(crate) reply: Type,
    pub(crate) key: Option<Key>,
    /// `None` means `local`.
    pub(crate) codec: Option<TokenStream>,
    pub(crate) version: Option<LitInt>,
    pub(crate) aliases: Vec<LitStr>,
    /// The type of the version before, where its data is brought up through `From`.
    pub(crate) from: Option<Type>,
    pub(crate) krate: Path,
}

/// The field that is the partition key.
pub(crate) struct Key {
    pub(crate) member: Member,
    pub(crate) ty: Type,
    /// Where the attribute names the field: a type that cannot be a key is reported there.
    pub(crate) span: Span,
}

impl Attributes {
    /// Reads the attributes of `input`.
    pub(crate) fn of(kind: Kind, input: &DeriveInput) -> Result<Self> {
        let mut errors = Errors(None);
        let mut given = Given::default();
        for attribute in input.attrs.iter().filter(|attribute| is_catga(attribute)) {
            given.read(attribute, &mut errors);
        }
        refuse_misplaced(input, &mut errors);
        for parameter in input.generics.lifetimes() {
            let text = format!(
                "a message owns its data, because it outlives the call that sends it: replace what borrows for `{}` by \
                 an owned type, such as `String` for `&str`",
                parameter.lifetime
            );
            errors.push(Error::new(parameter.lifetime.span(), text));
        }

        match &given.name {
            Slot::Given(_, name) => {
                if let Some(fault) = fault(&name.value()) {
                    let text = format!("{fault}; a wire name is, for example, {:?}", suggestion(&input.ident));
                    errors.push(Error::new(name.span(), text));
                }
            }
            Slot::Missing => {
                let (ident, suggestion) = (&input.ident, suggestion(&input.ident));
                let text = format!("`{ident}` has no wire name; write, for example, `#[catga(name = {suggestion:?})]`");
                errors.push(Error::new(ident.span(), text));
            }
            Slot::Unreadable => {}
        }
        for alias in &given.aliases {
            if let Some(fault) = fault(&alias.value()) {
                errors.push(Error::new(alias.span(), fault.replace("the wire name", "the alias")));
            }
        }
        if let (Slot::Given(span, ()), Slot::Given(..)) = (&given.local, &given.from) {
            errors.push(Error::new(*span, "`local` excludes `from`: what never leaves the process has no old data"));
        }
        if let (Slot::Given(span, _), Slot::Missing) = (&given.from, &given.version) {
            errors.push(Error::new(*span, "`from` brings up older data: it wants `version = 2` or more"));
        }
        if let (Kind::Event, Slot::Given(span, _)) = (kind, &given.reply) {
            errors.push(Error::new(*span, "events have no reply; use Request"));
        }
        if let (Slot::Given(span, ()), Slot::Given(..)) = (&given.local, &given.codec) {
            errors.push(Error::new(*span, "`local` excludes `codec`: what never leaves the process needs none"));
        }
        let key = match given.key {
            Slot::Given(span, member) => errors.keep(find(&member, span, &input.data)),
            _ => None,
        };

        let krate = given.krate.get().unwrap_or_else(|| parse_quote!(::catga));
        let codec = match given.local {
            Slot::Missing => Some(match given.codec.get() {
                Some(codec) => codec.into_token_stream(),
                // A message that the default codec cannot carry is reported at the name of its type.
                None => moved(quote!(#krate::Json), input.ident.span()),
            }),
            _ => None,
        };
        let reply = given.reply.get().unwrap_or_else(|| parse_quote!(()));
        match (errors.0, given.name.get()) {
            (None, Some(name)) => {
                let (version, aliases, from) = (given.version.get(), given.aliases, given.from.get());
                Ok(Self { name, reply, key, codec, version, aliases, from, krate })
            }
            (errors, _) => Err(errors.unwrap_or_else(|| Error::new(input.ident.span(), "no wire name"))),
        }
    }
}

/// The errors so far, as one.
struct Errors(Option<Error>);

impl Errors {
    fn push(&mut self, error: Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => self.0 = Some(error),
        }
    }

    fn keep<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }
}

/// One attribute, as far as it is read. One that is there and cannot be read is not reported as missing as well.
#[derive(Default)]
enum Slot<T> {
    #[default]
    Missing,
    Unreadable,
    Given(Span, T),
}

impl<T> Slot<T> {
    fn get(self) -> Option<T> {
        match self {
            Self::Given(_, value) => Some(value),
            _ => None,
        }
    }

    /// Fills the slot with what `read` makes of the attribute named `name`.
    fn fill(&mut self, name: &Ident, read: impl FnOnce() -> Result<T>) -> Result<()> {
        let twice = !matches!(self, Self::Missing);
        if !twice {
            *self = Self::Unreadable;
        }
        // A second value is read as well, so that reading goes on behind it.
        let value = read()?;
        if twice {
            return Err(Error::new(name.span(), format!("`{name}` is given twice")));
        }
        *self = Self::Given(name.span(), value);
        Ok(())
    }
}

/// The attributes as they were written.
#[derive(Default)]
struct Given {
    name: Slot<LitStr>,
    reply: Slot<Type>,
    key: Slot<KeyName>,
    local: Slot<()>,
    codec: Slot<Type>,
    version: Slot<LitInt>,
    aliases: Vec<LitStr>,
    from: Slot<Type>,
    krate: Slot<Path>,
}

impl Given {
    fn read(&mut self, attribute: &Attribute, errors: &mut Errors) {
        let list = attribute.meta.require_list();
        let read = list.and_then(|list| {
            list.parse_args_with(|input: ParseStream<'_>| {
                while !input.is_empty() {
                    if let Err(error) = self.item(input) {
                        errors.push(error);
                        skip(input)?;
                    }
                    if !input.is_empty() {
                        input.parse::<Token![,]>()?;
                    }
                }
                Ok(())
            })
        });
        errors.keep(read);
    }

    /// Reads one attribute, up to the comma behind it.
    fn item(&mut self, input: ParseStream<'_>) -> Result<()> {
        let Ok(name) = input.call(Ident::parse_any) else {
            return Err(input.error("expected one of name, reply, key, version, from, alias, local, codec and crate"));
        };
        match name.to_string().as_str() {
            "name" => {
                let what = "a string literal, such as `name = \"orders.place\"`";
                self.name.fill(&name, || value(input, &name, what, <LitStr as Parse>::parse))
            }
            "reply" => self.reply.fill(&name, || value(input, &name, "a type, such as `reply = Receipt`", Type::parse)),
            "key" => {
                let what = "one field of the type, such as `key = customer` or `key = 0`";
                self.key.fill(&name, || value(input, &name, what, KeyName::parse))
            }
            "codec" => {
                let what = "the path of a type, such as `codec = my::Codec`, or a pair `codec = (New, Old)`";
                self.codec.fill(&name, || value(input, &name, what, codec))
            }
            "version" => {
                let what = "a number from 1 to 65535, such as `version = 2`";
                self.version.fill(&name, || value(input, &name, what, version))
            }
            "alias" => {
                let what = "a name that the message had before, such as `alias = \"orders.put\"`";
                self.aliases.push(value(input, &name, what, <LitStr as Parse>::parse)?);
                Ok(())
            }
            "from" => {
                let what = "the type of the version before, such as `from = OrderPlacedV1`";
                self.from.fill(&name, || value(input, &name, what, Type::parse))
            }
            "crate" => {
                let what = "the path of a crate or module, such as `crate = framework::catga`";
                self.krate.fill(&name, || value(input, &name, what, Path::parse_mod_style))
            }
            "local" => self.local.fill(&name, || {
                if input.is_empty() || input.peek(Token![,]) {
                    Ok(())
                } else {
                    Err(Error::new(input.span(), "`local` takes no value"))
                }
            }),
            _ => {
                let text = format!(
                    "unknown attribute `{name}`; known are name, reply, key, version, from, alias, local, codec and crate"
                );
                Err(Error::new(name.span(), text))
            }
        }
    }
}

/// A codec: a type by its path, or a pair of them.
fn codec(input: ParseStream<'_>) -> Result<Type> {
    match input.parse()? {
        codec @ (Type::Path(_) | Type::Tuple(_)) => Ok(codec),
        other => Err(Error::new_spanned(other, "no codec")),
    }
}

/// A version of a contract.
fn version(input: ParseStream<'_>) -> Result<LitInt> {
    let number: LitInt = input.parse()?;
    match number.base10_parse::<u16>() {
        Ok(1..) => Ok(number),
        _ => Err(Error::new(number.span(), "out of bounds")),
    }
}

/// The name of a field as the attribute gives it. A keyword stands for the raw identifier: `type` for `r#type`.
enum KeyName {
    Named(Ident),
    Unnamed(Index),
}

impl Parse for KeyName {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.peek(LitInt) { input.parse().map(Self::Unnamed) } else { Ident::parse_any(input).map(Self::Named) }
    }
}

/// Reads `= value` and makes sure that nothing follows but a comma. After an error `input` stands before the value, so
/// that [`skip`] sees all of it.
fn value<T>(
    input: ParseStream<'_>,
    name: &Ident,
    what: impl Display,
    parse: impl FnOnce(ParseStream<'_>) -> Result<T>,
) -> Result<T> {
    if !input.peek(Token![=]) {
        return Err(Error::new(name.span(), format!("`{name}` takes {what}")));
    }
    input.parse::<Token![=]>()?;
    if input.is_empty() || input.peek(Token![,]) {
        return Err(Error::new(name.span(), format!("`{name}` takes {what}")));
    }
    let ahead = input.fork();
    match parse(&ahead) {
        Ok(value) if ahead.is_empty() || ahead.peek(Token![,]) => {
            input.advance_to(&ahead);
            Ok(value)
        }
        Ok(_) => Err(Error::new(ahead.span(), format!("expected a comma: `{name}` takes {what}"))),
        Err(_) => Err(Error::new(input.span(), format!("`{name}` takes {what}"))),
    }
}

/// Skips to the comma behind an attribute that was not understood, past commas within angle brackets.
fn skip(input: ParseStream<'_>) -> Result<()> {
    let (mut depth, mut previous) = (0_usize, ' ');
    while !(input.is_empty() || depth == 0 && input.peek(Token![,])) {
        let character = match input.parse()? {
            TokenTree::Punct(punct) => punct.as_char(),
            _ => ' ',
        };
        match (previous, character) {
            (_, '<') => depth += 1,
            ('-' | '=', '>') => {} // an arrow closes nothing
            (_, '>') => depth = depth.saturating_sub(1),
            _ => {}
        }
        previous = character;
    }
    Ok(())
}

fn is_catga(attribute: &Attribute) -> bool {
    attribute.path().is_ident("catga")
}

/// Rustc lets a helper attribute stand on fields, variants and parameters, where it would be ignored in silence.
fn refuse_misplaced(input: &DeriveInput, errors: &mut Errors) {
    let (mut fields, mut attributes): (Vec<&Field>, Vec<&Attribute>) = (Vec::new(), Vec::new());
    match &input.data {
        Data::Struct(data) => fields.extend(&data.fields),
        Data::Union(data) => fields.extend(&data.fields.named),
        Data::Enum(data) => {
            for variant in &data.variants {
                attributes.extend(&variant.attrs);
                fields.extend(&variant.fields);
            }
        }
    }
    attributes.extend(fields.into_iter().flat_map(|field| &field.attrs));
    attributes.extend(input.generics.params.iter().flat_map(|parameter| match parameter {
        GenericParam::Type(parameter) => &parameter.attrs,
        GenericParam::Const(parameter) => &parameter.attrs,
        GenericParam::Lifetime(parameter) => &parameter.attrs,
    }));
    for attribute in attributes.into_iter().filter(|attribute| is_catga(attribute)) {
        let text = "`catga` attributes stand on the type; the key is named there: `#[catga(key = customer)]`";
        errors.push(Error::new_spanned(attribute, text));
    }
}

/// The field that `key = ...` names.
fn find(name: &KeyName, attribute: Span, data: &Data) -> Result<Key> {
    let fields = match data {
        Data::Struct(data) => &data.fields,
        Data::Enum(_) => return Err(Error::new(attribute, "`key` names a field of a struct; an enum has none")),
        Data::Union(_) => return Err(Error::new(attribute, "`key` names a field of a struct; this is a union")),
    };
    let (text, span) = match name {
        KeyName::Named(ident) => (ident.unraw().to_string(), ident.span()),
        KeyName::Unnamed(index) => (index.index.to_string(), index.span),
    };
    let mut names = Vec::new();
    for (member, field) in fields.members().zip(fields) {
        let name = match &member {
            Member::Named(ident) => ident.unraw().to_string(),
            Member::Unnamed(index) => index.index.to_string(),
        };
        if name == text {
            return Ok(Key { member, ty: field.ty.clone(), span });
        }
        names.push(format!("`{name}`"));
    }
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    Err(Error::new(span, format!("no field `{text}`; the type has {names}")))
}

/// What is wrong with a wire name.
fn fault(name: &str) -> Option<String> {
    let forbidden = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if name.is_empty() {
        Some("the wire name is empty".to_owned())
    } else if let Some(c) = name.chars().find(forbidden) {
        Some(format!("the wire name has {c:?}; only ASCII letters, digits, `.`, `_` and `-` are allowed"))
    } else if name.len() > 255 {
        Some(format!("the wire name has {} bytes; at most 255 are allowed", name.len()))
    } else if name.split('.').any(str::is_empty) {
        Some("the wire name has an empty part before, behind or between its dots".to_owned())
    } else {
        None
    }
}

/// A wire name made of the type's: `place-order` of `PlaceOrder`.
fn suggestion(ident: &Ident) -> String {
    let characters: Vec<char> = ident.unraw().to_string().chars().collect();
    let mut name = String::new();
    for (index, &c) in characters.iter().enumerate() {
        let before = index.checked_sub(1).map(|index| characters[index]);
        let after = characters.get(index + 1);
        // A word begins behind a small letter or digit, and with the last capital of several: `HTTPCall`, `http-call`.
        let begins = before.is_some_and(|before| {
            before.is_lowercase() || before.is_numeric() || after.is_some_and(|after| after.is_lowercase())
        });
        if c == '_' || c.is_uppercase() && begins {
            name.push('-');
        }
        if c != '_' {
            name.extend(c.to_lowercase());
        }
    }
    let name: Vec<&str> = name.split('-').filter(|word| !word.is_empty()).collect();
    let name = name.join("-");
    if fault(&name).is_none() { name } else { "orders.place".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proc_macro2::Span;

    #[test]
    fn names() {
        for name in ["a", "orders.place", "Orders.Place-order_2", "-", "1", &"x".repeat(255)] {
            assert_eq!(fault(name), None, "{name}");
        }
        for name in ["", ".", ".a", "a.", "a..b", "a b", "a/b", "größe", "a\n", "a\0", "*", ">", &"x".repeat(256)] {
            assert!(fault(name).is_some(), "{name}");
        }
    }

    #[test]
    fn suggestions() {
        let names = [
            ("PlaceOrder", "place-order"),
            ("Ping", "ping"),
            ("HTTPCall", "http-call"),
            ("OrderV2Placed", "order-v2-placed"),
            ("snake_case", "snake-case"),
            ("_Hidden__Type_", "hidden-type"),
            ("URL", "url"),
            ("A", "a"),
            ("__", "orders.place"),
            ("Größe", "orders.place"),
        ];
        for (ident, name) in names {
            assert_eq!(suggestion(&Ident::new(ident, Span::call_site())), name);
        }
        assert_eq!(suggestion(&Ident::new_raw("type", Span::call_site())), "type");
    }
}
