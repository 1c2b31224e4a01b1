//! The `impl` blocks around the code of each mode.

use super::attributes::Options;
use proc_macro2::{Span, TokenStream};
use quote::{ToTokens as _, quote, quote_spanned};
use syn::{DeriveInput, Error, GenericParam, Lifetime, Result, Type, parse_quote, spanned::Spanned as _};

/// The bodies of the functions of the three traits.
pub(super) struct Bodies {
    /// The types of the fields, whose kinds are computed where the type stands, and not where it is first used.
    pub(super) types: Vec<Type>,
    pub(super) kind: TokenStream,
    /// `false` where all values can be written.
    pub(super) checked: TokenStream,
    pub(super) size: TokenStream,
    pub(super) encode: TokenStream,
    pub(super) decode: TokenStream,
    /// Empty for the default of the trait.
    pub(super) decode_in_place: TokenStream,
    /// Empty for the default of the trait.
    pub(super) check: TokenStream,
    /// Empty for what has no members that could be fewer.
    pub(super) decode_older: TokenStream,
    /// As above.
    pub(super) check_older: TokenStream,
    /// Empty for the default of the trait.
    pub(super) missing: TokenStream,
}

/// The lifetime of the bytes: that of the type where it has one.
pub(super) fn lifetime(input: &DeriveInput) -> Result<Lifetime> {
    let mut lifetimes = input.generics.lifetimes();
    match (lifetimes.next(), lifetimes.next()) {
        (None, _) => Ok(Lifetime::new("'__de", Span::call_site())),
        (Some(only), None) => Ok(only.lifetime.clone()),
        (_, Some(second)) => {
            let text = "what is borrowed is borrowed from the one frame that is read: one lifetime is enough";
            Err(Error::new(second.lifetime.span(), text))
        }
    }
}

pub(super) fn implement(input: &DeriveInput, options: &Options, bodies: Bodies) -> Result<TokenStream> {
    let krate = &options.krate;
    let de = lifetime(input)?;
    let Bodies {
        types,
        kind,
        checked,
        size,
        encode,
        decode,
        decode_in_place,
        check,
        decode_older,
        check_older,
        missing,
    } = bodies;
    let shape = block(
        input,
        quote!(#krate::Shape),
        None,
        &quote!(#krate::Shape),
        quote! {
            const KIND: #krate::Kind = #kind;
            const CHECKED: ::core::primitive::bool = #checked;
        },
    );
    let encode = block(
        input,
        quote!(#krate::Encode),
        None,
        &quote!(#krate::Encode),
        quote! {
            #[inline]
            fn size(&self, __sizer: &mut #krate::Sizer) -> ::core::primitive::usize {
                #size
            }

            #[inline]
            fn encode(&self, __out: &mut #krate::Writer<'_>) {
                #encode
            }
        },
    );
    let unit = quote!(());
    let function = |signature: TokenStream, result: &TokenStream, body: TokenStream| {
        (!body.is_empty()).then(|| quote!(#[inline] #signature -> #krate::Result<#result> { #body }))
    };
    let reader = quote!(__reader: &mut #krate::Reader<#de>);
    let this = quote!(Self);
    let decode = function(quote!(fn decode(#reader)), &this, decode);
    let in_place = function(quote!(fn decode_in_place(&mut self, #reader)), &unit, decode_in_place);
    let check = function(quote!(fn check(#reader)), &unit, check);
    let older = |name: TokenStream, result: &TokenStream, body: TokenStream| {
        let head = quote!(fn #name(#reader, __count: ::core::primitive::usize) -> #krate::Result<#result>);
        (!body.is_empty()).then(|| quote!(#[cold] #head { #body }))
    };
    let decode_older = older(quote!(decode_older), &this, decode_older);
    let check_older = older(quote!(check_older), &unit, check_older);
    let missing = (!missing.is_empty()).then(|| quote!(fn missing() -> #krate::Result<Self> { #missing }));
    let bound = quote!(#krate::Decode<#de>);
    let decode = block(
        input,
        bound.clone(),
        Some(&de),
        &bound,
        quote!(#decode #in_place #check #decode_older #check_older #missing),
    );
    let ident = &input.ident;
    let this = Type::Verbatim(quote!(#ident));
    let kinds = std::iter::once(&this).chain(&types).filter(|_| input.generics.params.is_empty()).map(|ty| {
        let kind = quote_spanned!(ty.span()=> <#ty as #krate::Shape>::KIND);
        quote!(const _: #krate::Kind = #kind;)
    });
    Ok(quote!(#shape #encode #decode #(#kinds)*))
}

/// One `impl`, which asks of each type parameter what it asks of the type.
fn block(
    input: &DeriveInput,
    name: TokenStream,
    de: Option<&Lifetime>,
    bound: &TokenStream,
    body: TokenStream,
) -> TokenStream {
    let ident = &input.ident;
    let mut generics = input.generics.clone();
    for parameter in &mut generics.params {
        if let GenericParam::Type(parameter) = parameter {
            parameter.bounds.push(parse_quote!(#bound));
        }
    }
    if let Some(de) = de.filter(|_| input.generics.lifetimes().next().is_none()) {
        generics.params.insert(0, parse_quote!(#de));
    }
    let (parameters, ..) = generics.split_for_impl();
    let (_, arguments, clause) = input.generics.split_for_impl();
    let parameters = parameters.to_token_stream();
    quote! {
        #[automatically_derived]
        impl #parameters #name for #ident #arguments #clause {
            #body
        }
    }
}
