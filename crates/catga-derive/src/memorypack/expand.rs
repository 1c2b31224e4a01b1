//! The `impl` blocks around the code of each mode.

use super::attributes::Options;
use proc_macro2::{Group, Span, TokenStream, TokenTree};
use quote::{ToTokens as _, quote, quote_spanned};
use syn::{
    DeriveInput, Error, GenericParam, Generics, Lifetime, Result, Type, WherePredicate, parse_quote,
    spanned::Spanned as _,
};

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
    /// Empty for the default of the trait.
    pub(super) missing: TokenStream,
}

/// Up to how many fields a type is read where it stands, rather than by a call.
const SMALL: usize = 6;

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
    let Bodies { types, kind, checked, size, encode, decode, decode_in_place, check, missing } = bodies;
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
        // What a call returns goes through memory, and so the small ones are none; without optimization, where that
        // only takes more of the stack, they are.
        let inline = if types.len() <= SMALL {
            quote!(#[cfg_attr(not(debug_assertions), inline(always))])
        } else {
            quote!(#[inline])
        };
        (!body.is_empty()).then(|| quote!(#inline #signature -> #krate::Result<#result> { #body }))
    };
    let reader = quote!(__reader: &mut #krate::Reader<#de>);
    let this = quote!(Self);
    let decode = function(quote!(fn decode(#reader)), &this, decode);
    let in_place = function(quote!(fn decode_in_place(&mut self, #reader)), &unit, decode_in_place);
    let check = function(quote!(fn check(#reader)), &unit, check);
    let missing = (!missing.is_empty()).then(|| quote!(fn missing() -> #krate::Result<Self> { #missing }));
    let bound = quote!(#krate::Decode<#de>);
    let decode = block(input, bound.clone(), Some(&de), &bound, quote!(#decode #in_place #check #missing));
    let ident = &input.ident;
    let this = Type::Verbatim(quote!(#ident));
    let kinds = std::iter::once(&this).chain(&types).filter(|_| input.generics.params.is_empty()).map(|ty| {
        let kind = quote_spanned!(ty.span()=> <#ty as #krate::Shape>::KIND);
        quote!(const _: #krate::Kind = #kind;)
    });
    Ok(quote!(#shape #encode #decode #(#kinds)*))
}

/// What a function inside of one that reads needs, because it cannot use the parameters around it.
pub(super) struct Inner {
    pub(super) parameters: TokenStream,
    pub(super) clause: TokenStream,
    pub(super) arguments: TokenStream,
    /// What `Self` is called there.
    this: TokenStream,
}

impl Inner {
    pub(super) fn of(input: &DeriveInput, options: &Options, de: &Lifetime) -> Self {
        let krate = &options.krate;
        let generics = bounded(input, Some(de), &quote!(#krate::Decode<#de>));
        let (parameters, _, clause) = generics.split_for_impl();
        let arguments = input.generics.params.iter().filter_map(|parameter| match parameter {
            GenericParam::Type(parameter) => Some(&parameter.ident),
            GenericParam::Const(parameter) => Some(&parameter.ident),
            GenericParam::Lifetime(_) => None,
        });
        let arguments: Vec<_> = arguments.collect();
        let arguments = if arguments.is_empty() { TokenStream::new() } else { quote!(::<#(#arguments),*>) };
        let (_, own, _) = input.generics.split_for_impl();
        let ident = &input.ident;
        let this = quote!(#ident #own);
        Self { parameters: parameters.to_token_stream(), clause: clause.to_token_stream(), arguments, this }
    }

    /// The types of fields, which may say `Self`.
    pub(super) fn spelled_out(&self, tokens: TokenStream) -> TokenStream {
        let token = |token: TokenTree| match token {
            TokenTree::Ident(ident) if ident == "Self" => self.this.clone(),
            TokenTree::Group(group) => {
                Group::new(group.delimiter(), self.spelled_out(group.stream())).into_token_stream()
            }
            other => other.into(),
        };
        tokens.into_iter().map(token).collect()
    }
}

/// The parameters of the type, each asked for `bound`, and the lifetime of the bytes.
fn bounded(input: &DeriveInput, de: Option<&Lifetime>, bound: &TokenStream) -> Generics {
    let mut generics = input.generics.clone();
    let mut asked = Vec::<WherePredicate>::new();
    for parameter in &mut generics.params {
        match parameter {
            GenericParam::Type(parameter) => {
                // Not where its own bounds stand: these are nobody's to tidy.
                let mut ident = parameter.ident.clone();
                ident.set_span(Span::call_site());
                asked.push(parse_quote!(#ident: #bound));
                parameter.default = None;
            }
            GenericParam::Const(parameter) => parameter.default = None,
            GenericParam::Lifetime(_) => {}
        }
    }
    if let Some(de) = de.filter(|_| input.generics.lifetimes().next().is_none()) {
        generics.params.insert(0, parse_quote!(#de));
    }
    if !asked.is_empty() {
        generics.make_where_clause().predicates.extend(asked);
    }
    generics
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
    let generics = bounded(input, de, bound);
    let (parameters, _, clause) = generics.split_for_impl();
    let (_, arguments, _) = input.generics.split_for_impl();
    let parameters = parameters.to_token_stream();
    quote! {
        #[automatically_derived]
        impl #parameters #name for #ident #arguments #clause {
            #body
        }
    }
}
