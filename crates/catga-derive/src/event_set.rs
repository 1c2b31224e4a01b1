//! `#[derive(EventSet)]`: an enum of events as what streams take and give.

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::{Attribute, Data, DeriveInput, Error, Fields, Path, Result, Type, Variant, parse_quote};

pub(crate) fn expand(input: TokenStream) -> TokenStream {
    syn::parse2(input).and_then(|input| event_set(&input)).unwrap_or_else(Error::into_compile_error)
}

/// The variants: those that hold an event, and the one that stands for all others.
struct Set<'a> {
    events: Vec<(&'a Ident, &'a Type)>,
    other: Option<&'a Ident>,
}

impl<'a> Set<'a> {
    fn of(input: &'a DeriveInput) -> Result<Self> {
        let Data::Enum(data) = &input.data else {
            let text = "`EventSet` is derived for an enum whose variants hold one event each; a single event is a \
                        `#[derive(Event)]`";
            return Err(Error::new_spanned(&input.ident, text));
        };
        if data.variants.is_empty() {
            return Err(Error::new_spanned(&input.ident, "a set of events has at least one variant"));
        }
        let mut set = Self { events: Vec::new(), other: None };
        for variant in &data.variants {
            match (&variant.fields, is_other(variant)?) {
                (Fields::Unnamed(fields), false) if fields.unnamed.len() == 1 => {
                    set.events.extend(fields.unnamed.iter().map(|field| (&variant.ident, &field.ty)));
                }
                (Fields::Unit, true) if set.other.is_none() => set.other = Some(&variant.ident),
                (_, false) => {
                    let text = "a variant holds one event, such as `Placed(Placed)`; one without a field that stands \
                                for all other events is marked `#[catga(other)]`";
                    return Err(Error::new_spanned(variant, text));
                }
                (_, true) => {
                    return Err(Error::new_spanned(
                        variant,
                        "one variant, without fields, stands for all other events",
                    ));
                }
            }
        }
        Ok(set)
    }
}

fn event_set(input: &DeriveInput) -> Result<TokenStream> {
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(&input.generics, "a set of events has no parameters"));
    }
    let (Set { events, other }, krate, name) = (Set::of(input)?, krate(&input.attrs)?, &input.ident);
    let (variants, types): (Vec<_>, Vec<_>) = events.into_iter().unzip();
    let refuse = other.map(|other| {
        let text =
            format!("`{name}::{other}` stands for events that this program does not know; it cannot be appended");
        quote! {
            Self::#other => #krate::Result::Err(#krate::Error::new(#krate::ErrorKind::Invalid, #text)),
        }
    });
    let rest = match other {
        Some(other) => quote!(::core::option::Option::Some(Self::#other)),
        None => quote!(::core::option::Option::None),
    };
    Ok(quote! {
        #[automatically_derived]
        impl #krate::ToEvents for #name {
            fn to_events(&self, __batch: &mut #krate::EventBatch) -> #krate::Result<()> {
                match self {
                    #(Self::#variants(__event) => #krate::ToEvents::to_events(__event, __batch),)*
                    #refuse
                }
            }
        }
        #[automatically_derived]
        impl #krate::FromEvent for #name {
            fn from_event(__envelope: &#krate::Envelope) -> #krate::Result<::core::option::Option<Self>> {
                #(
                    if let ::core::option::Option::Some(__event) = <#types as #krate::FromEvent>::from_event(__envelope)? {
                        return #krate::Result::Ok(::core::option::Option::Some(Self::#variants(__event)));
                    }
                )*
                #krate::Result::Ok(#rest)
            }
        }
        #(
            #[automatically_derived]
            impl ::core::convert::From<#types> for #name {
                fn from(__event: #types) -> Self {
                    Self::#variants(__event)
                }
            }
        )*
    })
}

/// Whether the variant is marked `#[catga(other)]`.
fn is_other(variant: &Variant) -> Result<bool> {
    let mut other = false;
    for attribute in variant.attrs.iter().filter(|attribute| attribute.path().is_ident("catga")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("other") {
                return Err(meta.error("a variant takes `other` only"));
            }
            other = true;
            Ok(())
        })?;
    }
    Ok(other)
}

/// Where Catga is found.
fn krate(attributes: &[Attribute]) -> Result<Path> {
    let mut krate = parse_quote!(::catga);
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("catga")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("crate") {
                return Err(meta.error("a set of events takes `crate` only"));
            }
            krate = meta.value()?.call(Path::parse_mod_style)?;
            Ok(())
        })?;
    }
    Ok(krate)
}
