//! Enums without fields: their underlying integer.

use super::{
    attributes::{Options, refuse},
    expand::{self, Bodies},
};
use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};
use syn::{DataEnum, DeriveInput, Error, Fields, Result};

const INTEGERS: &[&str] = &["u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64"];

pub(super) fn implement(input: &DeriveInput, data: &DataEnum, options: &Options) -> Result<TokenStream> {
    let krate = &options.krate;
    for variant in &data.variants {
        if !matches!(variant.fields, Fields::Unit) {
            let text = "a .NET enum has no fields: `#[memorypack(union)]` makes each variant an object behind a tag";
            return Err(Error::new_spanned(variant, text));
        }
        refuse(&variant.attrs, "an enum is written as its number: give the variant one with `= …`")?;
    }
    if data.variants.is_empty() {
        return Err(Error::new_spanned(&input.ident, "an enum without variants has no values"));
    }
    let integer = options.integer.clone().unwrap_or_else(|| Ident::new("i32", Span::call_site()));
    if !INTEGERS.iter().any(|name| integer == name) {
        let text =
            "a .NET enum is an integer of 8 to 64 bits: `#[repr(u8)]` … `#[repr(i64)]`, `i32` where nothing is said";
        return Err(Error::new(integer.span(), text));
    }
    let ident = &input.ident;
    let type_name = ident.to_string();
    let variants: Vec<_> = data.variants.iter().map(|variant| &variant.ident).collect();
    let consts: Vec<_> = (0..variants.len()).map(|index| format_ident!("__V{index}")).collect();
    let numbers = quote! {
        #(const #consts: ::core::primitive::#integer = {
            let __wide = #ident::#variants as ::core::primitive::i128;
            ::core::assert!(
                __wide == __wide as ::core::primitive::#integer as ::core::primitive::i128,
                "the number does not fit the underlying type"
            );
            __wide as ::core::primitive::#integer
        };)*
    };
    let matched = |value: TokenStream, other: TokenStream| {
        quote! {
            #numbers
            match #value {
                #(#consts => ::core::result::Result::Ok(Self::#variants),)*
                _ => #other,
            }
        }
    };
    let size = quote!(::core::mem::size_of::<::core::primitive::#integer>());
    let read = quote!(<::core::primitive::#integer as #krate::Decode<'_>>::decode(__reader)?);
    let unknown = quote!(::core::result::Result::Err(__reader.error(#krate::ErrorKind::Value).within(#type_name, "")));
    let absent = quote!(::core::result::Result::Err(#krate::Error::new(#krate::ErrorKind::Missing, 0)));
    let decode = matched(read, unknown);
    let zero = quote!(0 as ::core::primitive::#integer);
    expand::implement(
        input,
        options,
        Bodies {
            types: Vec::new(),
            kind: quote!(#krate::Kind::Raw(#krate::Layout::primitive(#size))),
            checked: quote!(false),
            size,
            encode: quote!(#numbers __out.put(match self { #(Self::#variants => #consts,)* }.to_le_bytes());),
            decode,
            decode_in_place: TokenStream::new(),
            check: TokenStream::new(),
            missing: matched(zero, absent),
        },
    )
}
