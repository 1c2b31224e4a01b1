//! The emitted code. It names everything by its whole path, because it lands in a module that may call anything
//! `Result`, `Option`, `Send` or `bool`, and in an enum that may have a variant `Reply`.
//!
//! Long because what is emitted and the tests of its exact tokens belong together.

use crate::attributes::{Attributes, Key, Kind};
use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{Data, DeriveInput, GenericParam, Result, ext::IdentExt as _};

/// The `impl`s for the type in `input`, or the errors that its attributes have.
pub(crate) fn expand(kind: Kind, input: TokenStream) -> TokenStream {
    let expanded = syn::parse2(input).and_then(|input| message(kind, &input));
    expanded.unwrap_or_else(syn::Error::into_compile_error)
}

fn message(kind: Kind, input: &DeriveInput) -> Result<TokenStream> {
    let attributes = Attributes::of(kind, input)?;
    let Attributes { name, reply, key, codec, version, aliases, from, krate } = &attributes;
    let bounds = Bounds::of(input, &attributes);

    let keep = (kind == Kind::Request).then(|| keep(krate));
    let version = version.as_ref().map(|version| quote!(const VERSION: ::core::primitive::u16 = #version;));
    let aliases = (!aliases.is_empty())
        .then(|| quote!(const ALIASES: &'static [&'static ::core::primitive::str] = &[#(#aliases),*];));
    let key = key.as_ref().map(|key| key_of(key, krate));
    let message = quote! {
        const NAME: &'static ::core::primitive::str = #name;
        #version
        #aliases
        type Reply = #reply;
        #keep
        #key
    };
    let mut impls = implement(input, quote!(#krate::Message), &bounds.message, message);
    impls.extend(match kind {
        Kind::Request => implement(input, quote!(#krate::Request), &bounds.message, TokenStream::new()),
        Kind::Event => {
            let bounds = [bounds.message.clone(), bounds.event].concat();
            implement(input, quote!(#krate::Event), &bounds, TokenStream::new())
        }
    });
    if let Some(codec) = codec {
        let bounds = [bounds.message, bounds.codec].concat();
        let open = from.as_ref().map(|from| open(from, krate));
        let json = json(krate);
        impls.extend(implement(input, quote!(#krate::Wire), &bounds, quote!(type Codec = #codec; #open #json)));
    }
    Ok(impls)
}

/// One `impl`, with the where clauses of the type and `bounds`.
fn implement(input: &DeriveInput, r#trait: TokenStream, bounds: &[TokenStream], body: TokenStream) -> TokenStream {
    let ident = &input.ident;
    let (parameters, arguments, _) = input.generics.split_for_impl();
    let given = input.generics.where_clause.iter().flat_map(|clause| &clause.predicates);
    let mut bounds = given.map(ToTokens::to_token_stream).chain(bounds.iter().cloned()).peekable();
    let clause = bounds.peek().is_some().then(|| quote!(where));
    let allow = is_deprecated(input).then(|| quote!(#[allow(deprecated)]));
    quote! {
        #[automatically_derived]
        #allow
        impl #parameters #r#trait for #ident #arguments #clause #(#bounds,)* {
            #body
        }
    }
}

/// Whether the type or a field is deprecated: its definition, which these `impl`s belong to, does not use it. Others go
/// without the `allow`, because it is an error where a crate forbids the lint.
fn is_deprecated(input: &DeriveInput) -> bool {
    let mut attributes: Vec<_> = input.attrs.iter().collect();
    if let Data::Struct(data) = &input.data {
        attributes.extend(data.fields.iter().flat_map(|field| &field.attrs));
    }
    attributes.iter().any(|attribute| attribute.path().is_ident("deprecated"))
}

/// `Message::keep`. Whether the reply is a `Result` is found by method resolution on its type, which sees through
/// aliases; its tokens would not tell.
fn keep(krate: &syn::Path) -> TokenStream {
    quote! {
        fn keep(__reply: &<Self as #krate::Message>::Reply) -> ::core::primitive::bool {
            use #krate::__private::{KeepAny as _, KeepResult as _};
            (&#krate::__private::Keep(__reply)).__catga_keep()
        }
    }
}

/// `Message::key`. A field whose type cannot be a key is reported where the attribute names it.
fn key_of(Key { member, span, .. }: &Key, krate: &syn::Path) -> TokenStream {
    let key = moved(quote!(#krate::__private::ToKey::to_key(&self.#member)), *span);
    quote! {
        fn key(&self) -> ::core::option::Option<#krate::Key> {
            #key
        }
    }
}

/// `Wire::open` for a message that was another type before: older data is decoded as that one and brought up.
fn open(from: &syn::Type, krate: &syn::Path) -> TokenStream {
    quote! {
        fn open(__envelope: &#krate::Envelope) -> #krate::Result<Self> {
            if __envelope.version <= <#from as #krate::Message>::VERSION {
                let __older = <#from as #krate::Wire>::open(__envelope)?;
                return #krate::Result::Ok(<Self as ::core::convert::From<#from>>::from(__older));
            }
            #krate::__private::open(__envelope)
        }
    }
}

/// `Wire::json`. Whether the type has serde's traits is found by method resolution.
fn json(krate: &syn::Path) -> TokenStream {
    quote! {
        fn json() -> ::core::option::Option<#krate::__private::JsonForm<Self>> {
            use #krate::__private::{JsonAny as _, JsonSerde as _};
            (&#krate::__private::JsonProbe::<Self>::NEW).__catga_json()
        }
    }
}

/// The tokens as if they stood at `span`, so that rustc points there; what their names mean does not change.
pub(crate) fn moved(tokens: TokenStream, span: Span) -> TokenStream {
    let token = |mut token: TokenTree| {
        let at = token.span().located_at(span);
        if let TokenTree::Group(group) = &token {
            token = Group::new(group.delimiter(), moved(group.stream(), span)).into();
        }
        token.set_span(at);
        token
    };
    tokens.into_iter().map(token).collect()
}

/// What a generic type has to satisfy, beyond its own where clauses, to be a message. They speak of whole types: a
/// bound on each parameter would refuse `PhantomData<fn() -> T>` or `Arc<T>` for no reason. A type without parameters
/// has none, so that rustc checks it where it stands and not where it is used.
#[derive(Default)]
struct Bounds {
    message: Vec<TokenStream>,
    event: Vec<TokenStream>,
    codec: Vec<TokenStream>,
}

impl Bounds {
    fn of(input: &DeriveInput, Attributes { reply, key, codec, krate, .. }: &Attributes) -> Self {
        let parameters = |consts: bool| -> Vec<Ident> {
            let parameters = input.generics.params.iter().filter_map(|parameter| match parameter {
                GenericParam::Type(parameter) => Some(parameter.ident.clone()),
                GenericParam::Const(parameter) if consts => Some(parameter.ident.clone()),
                _ => None,
            });
            parameters.collect()
        };
        let mut bounds = Self::default();

        let types = parameters(false);
        if !types.is_empty() {
            bounds.message.push(quote!(Self: ::core::marker::Send + ::core::marker::Sync + 'static));
            bounds.event.push(quote!(Self: ::core::clone::Clone));
            if mentions(reply.to_token_stream(), &types) {
                bounds.message.push(quote!(#reply: ::core::marker::Send + 'static));
            }
            if let Some(Key { ty, .. }) = key
                && mentions(ty.to_token_stream(), &types)
            {
                bounds.message.push(quote!(#ty: #krate::__private::ToKey));
            }
        }

        let all = parameters(true);
        if let (Some(codec), false) = (codec, all.is_empty()) {
            bounds.codec.push(quote!(#codec: #krate::Codec<Self>));
            if mentions(reply.to_token_stream(), &all) || mentions(codec.clone(), &all) {
                bounds.codec.push(quote!(#codec: #krate::Codec<#reply>));
            }
        }
        bounds
    }
}

/// Whether a type depends on one of these parameters, be it through `Self`. Where it does not, rustc would warn of a
/// bound that is always true.
fn mentions(tokens: TokenStream, parameters: &[Ident]) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == "Self" || parameters.iter().any(|known| known.unraw() == ident.unraw()),
        TokenTree::Group(group) => mentions(group.stream(), parameters),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(kind: Kind, input: &str) -> std::result::Result<String, Vec<String>> {
        let input = syn::parse_str(input).unwrap();
        message(kind, &input)
            .map(|tokens| squeeze(&tokens.to_string()))
            .map_err(|errors| errors.into_iter().map(|error| error.to_string()).collect())
    }

    /// Code without white space, because tokens that were parsed and tokens that were quoted print it differently.
    fn squeeze(code: &str) -> String {
        code.split_whitespace().collect()
    }

    fn emits(kind: Kind, input: &str, code: &str) {
        let expanded = expanded(kind, input).unwrap();
        assert!(expanded.contains(&squeeze(code)), "{code}\nnot in\n{expanded}");
    }

    fn lacks(kind: Kind, input: &str, code: &str) {
        let expanded = expanded(kind, input).unwrap();
        assert!(!expanded.contains(&squeeze(code)), "{code}\nin\n{expanded}");
    }

    /// The input is refused with exactly these errors, of which each entry is a part.
    fn refuses(kind: Kind, input: &str, parts: &[&str]) {
        let errors = expanded(kind, input).unwrap_err();
        assert_eq!(errors.len(), parts.len(), "{input}\n{errors:#?}");
        for (error, part) in errors.iter().zip(parts) {
            assert!(error.contains(part), "{input}\n{error:?} has no {part:?}");
        }
    }

    const REQUEST: Kind = Kind::Request;
    const EVENT: Kind = Kind::Event;

    #[test]
    fn a_plain_request() {
        let input = "#[catga(name = \"a.b\", reply = Receipt, key = id)] struct A { id: u64 }";
        let whole = quote! {
            #[automatically_derived]
            impl ::catga::Message for A {
                const NAME: &'static ::core::primitive::str = "a.b";
                type Reply = Receipt;
                fn keep(__reply: &<Self as ::catga::Message>::Reply) -> ::core::primitive::bool {
                    use ::catga::__private::{KeepAny as _, KeepResult as _};
                    (&::catga::__private::Keep(__reply)).__catga_keep()
                }
                fn key(&self) -> ::core::option::Option<::catga::Key> {
                    ::catga::__private::ToKey::to_key(&self.id)
                }
            }
            #[automatically_derived]
            impl ::catga::Request for A {}
            #[automatically_derived]
            impl ::catga::Wire for A {
                type Codec = ::catga::Json;
                fn json() -> ::core::option::Option<::catga::__private::JsonForm<Self>> {
                    use ::catga::__private::{JsonAny as _, JsonSerde as _};
                    (&::catga::__private::JsonProbe::<Self>::NEW).__catga_json()
                }
            }
        };
        assert_eq!(expanded(REQUEST, input).unwrap(), squeeze(&whole.to_string()));
    }

    #[test]
    fn a_plain_event() {
        let whole = quote! {
            #[automatically_derived]
            impl ::catga::Message for A {
                const NAME: &'static ::core::primitive::str = "a";
                type Reply = ();
            }
            #[automatically_derived]
            impl ::catga::Event for A {}
        };
        assert_eq!(expanded(EVENT, "#[catga(name = \"a\", local)] struct A;").unwrap(), squeeze(&whole.to_string()));
    }

    #[test]
    fn attributes_may_stand_apart() {
        let input = "#[catga(name = \"a\",)] #[catga()] #[serde(x)] #[catga(codec = <B as C>::D<E, F>)] struct A;";
        emits(REQUEST, input, "type Codec = <B as C>::D<E, F>;");
    }

    #[test]
    fn catga_may_have_another_name() {
        let input = "#[catga(name = \"a\", crate = crate::b, key = 1)] struct A(u8, u8);";
        emits(EVENT, input, "impl crate::b::Event for A");
        emits(EVENT, input, "type Codec = crate::b::Json;");
        emits(EVENT, input, "Option<crate::b::Key> { crate::b::__private::ToKey::to_key(&self.1) }");
        lacks(EVENT, input, "::catga::");
    }

    #[test]
    fn deprecated_messages_are_not_used_by_their_own_code() {
        emits(EVENT, "#[catga(name = \"a\")] #[deprecated] struct A;", "#[allow(deprecated)] impl");
        emits(EVENT, "#[catga(name = \"a\")] struct A(#[deprecated] u8);", "#[allow(deprecated)] impl");
    }

    #[test]
    fn keys_may_be_keywords() {
        for attribute in ["key = r#type", "key = type"] {
            let input = format!("#[catga(name = \"a\", {attribute})] struct A {{ r#type: u8 }}");
            emits(EVENT, &input, "to_key(&self.r#type)");
        }
    }

    #[test]
    fn type_parameters_bring_bounds() {
        let input = "#[catga(name = \"a\", key = id)] struct A<T: X, I = u8> where T: Y { t: T, id: I }";
        let message = "where T: Y, Self: ::core::marker::Send + ::core::marker::Sync + 'static, \
                       I: ::catga::__private::ToKey,";
        emits(EVENT, input, &format!("impl<T: X, I> ::catga::Message for A<T, I> {message} {{"));
        emits(EVENT, input, &format!("for A<T, I> {message} Self: ::core::clone::Clone, {{}}"));
        emits(EVENT, input, &format!("for A<T, I> {message} ::catga::Json: ::catga::Codec<Self>, {{"));
        lacks(REQUEST, input, "Clone");
    }

    #[test]
    fn replies_that_depend_on_a_parameter_bring_bounds() {
        let bounds =
            "Vec<(T,)>: ::core::marker::Send + 'static, J: ::catga::Codec<Self>, J: ::catga::Codec<Vec<(T,)>>,";
        emits(REQUEST, "#[catga(name = \"a\", reply = Vec<(T,)>, codec = J)] struct A<T>(T);", bounds);
        let bounds = "J<T>: ::catga::Codec<Self>, J<T>: ::catga::Codec<()>,";
        emits(REQUEST, "#[catga(name = \"a\", codec = J<T>)] struct A<T>(T);", bounds);
        let bounds = "Option<Self>: ::core::marker::Send + 'static,";
        emits(REQUEST, "#[catga(name = \"a\", reply = Option<Self>)] struct A<T>(T);", bounds);
    }

    #[test]
    fn const_parameters_bring_bounds_to_the_codec_only() {
        let input = "#[catga(name = \"a\")] struct A<const N: usize>([u8; N]);";
        emits(EVENT, input, "impl<const N: usize> ::catga::Event for A<N> {}");
        emits(EVENT, input, "::catga::Wire for A<N> where ::catga::Json: ::catga::Codec<Self>, {");
    }

    #[test]
    fn types_without_parameters_bring_no_bounds() {
        lacks(REQUEST, "#[catga(name = \"a\", reply = Option<Self>)] struct A;", "where");
    }

    #[test]
    fn names_are_required_and_checked() {
        refuses(REQUEST, "struct PlaceOrder;", &["write, for example, `#[catga(name = \"place-order\")]`"]);
        refuses(EVENT, "#[catga()] struct A;", &["no wire name"]);
        refuses(EVENT, "#[catga(name = \"\")] struct A;", &["is empty; a wire name is, for example, \"a\""]);
        refuses(EVENT, "#[catga(name = \"a b\")] struct A;", &["has ' '"]);
        refuses(EVENT, "#[catga(name = \"a..b\")] struct A;", &["empty part"]);
        let long = format!("#[catga(name = \"{}\")] struct A;", "x".repeat(256));
        refuses(EVENT, &long, &["256 bytes"]);
    }

    #[test]
    fn values_have_their_kind() {
        for value in ["name", "name = a", "name = 1", "name =", "name(\"a\")", "name = b\"a\""] {
            refuses(EVENT, &format!("#[catga({value}, local)] struct A;"), &["`name` takes a string literal"]);
        }
        for value in ["reply", "reply = \"A\"", "reply = 1", "reply = B<"] {
            refuses(REQUEST, &format!("#[catga(name = \"a\", {value})] struct A;"), &["`reply` takes a type"]);
        }
        for value in ["key", "key = \"b\"", "key = -1", "key = 0.1", "key = b.c", "key = &b"] {
            refuses(
                EVENT,
                &format!("#[catga(name = \"a\", {value})] struct A {{ b: u8 }}"),
                &["`key` takes one field"],
            );
        }
        for value in ["codec", "codec = \"A\"", "codec = &A"] {
            refuses(EVENT, &format!("#[catga(name = \"a\", {value})] struct A;"), &["`codec` takes the path"]);
        }
        for value in ["crate", "crate = \"a\"", "crate = a::B<C>"] {
            refuses(EVENT, &format!("#[catga(name = \"a\", {value})] struct A;"), &["`crate` takes the path"]);
        }
        for value in ["local = true", "local(true)"] {
            refuses(EVENT, &format!("#[catga(name = \"a\", {value})] struct A;"), &["`local` takes no value"]);
        }
    }

    #[test]
    fn all_errors_come_at_once() {
        let input = "#[catga(nam = \"a\", reply = Result<, B, C>, 7, local = 1, key = b)]
                     #[catga(name = \"a b\", local, name = \"a\", crate = X -> Y<Z, Z>)] #[catga] enum A<'a> { B }";
        let parts = [
            "unknown attribute `nam`",
            "`reply` takes a type",
            "expected one of name",
            "`local` takes no value",
            "`local` is given twice",
            "`name` is given twice",
            "expected a comma: `crate` takes",
            "expected attribute arguments in parentheses",
            "replace what borrows for `'a`",
            "has ' '",
            "an enum has none",
        ];
        refuses(REQUEST, input, &parts);
    }

    #[test]
    fn events_have_no_reply() {
        refuses(EVENT, "#[catga(name = \"a\", reply = ())] struct A;", &["events have no reply; use Request"]);
    }

    #[test]
    fn local_excludes_codec() {
        refuses(EVENT, "#[catga(name = \"a\", local, codec = B)] struct A;", &["`local` excludes `codec`"]);
    }

    #[test]
    fn keys_are_fields_of_a_struct() {
        refuses(
            EVENT,
            "#[catga(name = \"a\", key = c)] struct A { a: u8, r#b: u8 }",
            &["no field `c`; the type has `a`, `b`"],
        );
        refuses(EVENT, "#[catga(name = \"a\", key = 2)] struct A(u8, u8);", &["no field `2`; the type has `0`, `1`"]);
        refuses(EVENT, "#[catga(name = \"a\", key = c)] struct A;", &["no field `c`; the type has none"]);
        refuses(EVENT, "#[catga(name = \"a\", key = B)] enum A { B }", &["an enum has none"]);
        refuses(EVENT, "#[catga(name = \"a\", key = b)] union A { b: u8 }", &["this is a union"]);
    }

    #[test]
    fn attributes_stand_on_the_type() {
        for input in
            ["struct A { #[catga(key)] b: u8 }", "enum A { #[catga(key)] B }", "enum A { B(#[catga(key)] u8) }"]
        {
            refuses(EVENT, &format!("#[catga(name = \"a\")] {input}"), &["stand on the type"]);
        }
        refuses(EVENT, "#[catga(name = \"a\")] struct A<#[catga(key)] T>(T);", &["stand on the type"]);
    }

    #[test]
    fn errors_become_code() {
        let text = expand(
            EVENT,
            quote!(
                struct A;
            ),
        )
        .to_string();
        assert!(text.starts_with(":: core :: compile_error !"), "{text}");
    }
}
