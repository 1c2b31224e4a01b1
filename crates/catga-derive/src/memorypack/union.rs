//! Unions: a tag and a complete object.

use super::{
    attributes::{Options, refuse, tag},
    expand::{self, Bodies, lifetime},
    members::{Members, Names, Reading},
    object::{Fewer, Object},
};
use proc_macro2::TokenStream;
use quote::quote;
use std::collections::BTreeSet;
use syn::{DataEnum, DeriveInput, Error, Fields, Result, Variant};

/// The code of a variant.
#[derive(Default)]
struct Arms {
    size: TokenStream,
    encode: TokenStream,
    decode: TokenStream,
    check: TokenStream,
}

pub(super) fn implement(input: &DeriveInput, data: &DataEnum, options: &Options) -> Result<TokenStream> {
    let krate = &options.krate;
    let de = lifetime(input)?;
    let type_name = input.ident.to_string();
    let names = Names { krate, de: &de, type_name: &type_name };
    let mut seen = BTreeSet::new();
    let (mut arms, mut types) = (Arms::default(), Vec::new());
    for variant in &data.variants {
        let Some((tag, span)) = tag(variant)? else {
            let text = "no tag: write `#[memorypack(tag = …)]` with the number of its `[MemoryPackUnion]`";
            return Err(Error::new_spanned(variant, text));
        };
        if !seen.insert(tag) {
            return Err(Error::new(span, format!("two variants have the tag {tag}")));
        }
        types.extend(variant.fields.iter().map(|field| field.ty.clone()));
        let added = arm(variant, tag, &names)?;
        arms.size.extend(added.size);
        arms.encode.extend(added.encode);
        arms.decode.extend(added.decode);
        arms.check.extend(added.check);
    }
    if seen.is_empty() {
        return Err(Error::new_spanned(&input.ident, "a union of nothing has no values"));
    }
    let Arms { size, encode, decode, check } = arms;
    let tag = names.attempt(quote!(__reader.tag()), "");
    let unknown = quote!(::core::result::Result::Err(__reader.error(#krate::ErrorKind::Tag).within(#type_name, "")));
    expand::implement(
        input,
        options,
        Bodies {
            types,
            kind: quote!(#krate::Kind::Object),
            checked: quote!(false),
            size: quote!(match self { #size }),
            encode: quote!(match self { #encode }),
            decode: quote!(match #tag { #decode _ => #unknown }),
            decode_in_place: TokenStream::new(),
            check: quote!(match #tag { #check _ => #unknown }),
            missing: TokenStream::new(),
        },
    )
}

fn arm(variant: &Variant, tag: u16, names: &Names<'_>) -> Result<Arms> {
    let krate = names.krate;
    let ident = &variant.ident;
    let path = quote!(Self::#ident);
    let width = if tag < 250 { 1_usize } else { 3 };
    let members = Members::of(&variant.fields, false, ident.span())?;
    let pattern = members.pattern(&path);
    if let Fields::Unnamed(fields) = &variant.fields {
        let (1, Some(field)) = (fields.unnamed.len(), fields.unnamed.first()) else {
            let text = "a variant holds one object, or has named fields and is one: .NET has no tuple behind a tag";
            return Err(Error::new_spanned(fields, text));
        };
        refuse(&field.attrs, "the object of a variant is always written")?;
        let (ty, label) = (&field.ty, ident.to_string());
        let decode = names.attempt(quote!(<#ty as #krate::Decode<'_>>::decode(__reader)), &label);
        let check = names.attempt(quote!(<#ty as #krate::Decode<'_>>::check(__reader)), &label);
        return Ok(Arms {
            size: quote!(#path(__object) => #width + <#ty as #krate::Encode>::size(__object, __sizer),),
            encode: quote!(#path(__object) => {
                __out.tag(#tag);
                <#ty as #krate::Encode>::encode(__object, __out);
            }),
            decode: quote!(#tag => ::core::result::Result::Ok(#path(#decode)),),
            check: quote!(#tag => { #check; ::core::result::Result::Ok(()) }),
        });
    }
    let object = Object { members: &members, names, fewer: Fewer::Here };
    let (size, encode) = (object.size(), object.encode());
    let (decode, check) = (object.read(Reading::Make), object.read(Reading::Check));
    let declare = names.declare(&members, Reading::Make);
    let value = members.value(&path);
    Ok(Arms {
        size: quote!(#pattern => #width + #size,),
        encode: quote!(#pattern => { __out.tag(#tag); #encode }),
        decode: quote!(#tag => { #declare #decode ::core::result::Result::Ok(#value) }),
        check: quote!(#tag => { #check ::core::result::Result::Ok(()) }),
    })
}
