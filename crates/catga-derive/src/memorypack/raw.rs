//! Raw structs, whose memory is what is written, and structs that are what their field is.

use super::{
    attributes::{FieldOptions, Options},
    expand::{self, Bodies, lifetime},
    members::{Members, Names, Reading},
};
use proc_macro2::TokenStream;
use quote::quote;
use syn::{DataStruct, DeriveInput, Error, Fields, Result};

/// `#[repr(C)]`: the fields where .NET's `LayoutKind.Sequential` has them, zeros between them.
pub(super) fn implement(input: &DeriveInput, data: &DataStruct, options: &Options) -> Result<TokenStream> {
    let krate = &options.krate;
    plain(&data.fields, "the fields of a raw struct are its memory, all of it and in its order")?;
    let members = Members::of(&data.fields, false, input.ident.span())?;
    let types: Vec<_> = members.iter().map(|member| &member.ty).collect();
    if types.is_empty() {
        let text = "an empty struct is one byte of anything in .NET: leave it out";
        return Err(Error::new_spanned(&input.ident, text));
    }
    let de = lifetime(input)?;
    let type_name = input.ident.to_string();
    let names = Names { krate, de: &de, type_name: &type_name };
    let this = quote!(Self);
    let (bind, value) = (members.pattern(&this), members.value(&this));
    let variables: Vec<_> = members.iter().map(|member| &member.variable).collect();
    let kinds = quote!(&[#(<#types as #krate::Shape>::KIND),*]);
    let pad = |index: usize| quote!(const { #krate::__private::pad(#kinds, #index) });
    let size = quote!(const { <Self as #krate::Shape>::KIND.raw() });

    let (pads, end) = ((0..types.len()).map(pad), pad(types.len()));
    let encode = quote! {
        let #bind = self;
        __out.run(#size, |__out| {
            #(
                __out.zeros(#pads);
                <#types as #krate::Encode>::encode(#variables, __out);
            )*
            __out.zeros(#end);
        });
    };
    let run = names.attempt(quote!(__reader.run(#size)), "");
    let fields = members.iter().enumerate().map(|(index, member)| {
        let gap = names.attempt(
            {
                let pad = pad(index);
                quote!(__run.bytes(#pad))
            },
            "",
        );
        let present = names.present(member, Reading::Make, &quote!(&mut __run));
        quote!(#gap; #present)
    });
    let declare = names.declare(&members, Reading::Make);
    let missing = members.iter().map(|member| {
        let (variable, ty) = (&member.variable, &member.ty);
        let value = names.attempt(quote!(<#ty as #krate::Decode<#de>>::missing()), &member.label);
        quote!(let #variable = #value;)
    });
    expand::implement(
        input,
        options,
        Bodies {
            types: members.types(),
            kind: quote!(#krate::__private::sequential(#kinds)),
            checked: quote!(false #(|| <#types as #krate::Shape>::CHECKED)*),
            size: quote! {
                if const { <Self as #krate::Shape>::CHECKED } {
                    let #bind = self;
                    #(<#types as #krate::Encode>::size(#variables, __sizer);)*
                }
                #size
            },
            encode,
            decode: quote! {
                let mut __run = #run;
                #declare
                #(#fields)*
                ::core::result::Result::Ok(#value)
            },
            decode_in_place: TokenStream::new(),
            check: TokenStream::new(),
            missing: quote!(#(#missing)* ::core::result::Result::Ok(#value)),
        },
    )
}

/// `#[memorypack(transparent)]`: on the wire what the only field is.
pub(super) fn transparent(input: &DeriveInput, data: &DataStruct, options: &Options) -> Result<TokenStream> {
    let krate = &options.krate;
    plain(&data.fields, "the field of a transparent struct is all that is written")?;
    let members = Members::of(&data.fields, false, input.ident.span())?;
    let mut all = members.iter();
    let (Some(member), None) = (all.next(), all.next()) else {
        return Err(Error::new_spanned(&input.ident, "a transparent struct has one field"));
    };
    let de = lifetime(input)?;
    let (name, ty) = (&member.name, &member.ty);
    let decode = quote!(<#ty as #krate::Decode<#de>>);
    let wrap = quote!(?;);
    let made =
        |value: TokenStream| quote!(let __value = #value #wrap ::core::result::Result::Ok(Self { #name: __value }));
    expand::implement(
        input,
        options,
        Bodies {
            types: members.types(),
            kind: quote!(<#ty as #krate::Shape>::KIND),
            checked: quote!(<#ty as #krate::Shape>::CHECKED),
            size: quote!(<#ty as #krate::Encode>::size(&self.#name, __sizer)),
            encode: quote!(<#ty as #krate::Encode>::encode(&self.#name, __out)),
            decode: made(quote!(#decode::decode(__reader))),
            decode_in_place: quote!(#decode::decode_in_place(&mut self.#name, __reader)),
            check: quote!(#decode::check(__reader)),
            missing: made(quote!(#decode::missing())),
        },
    )
}

/// Refuses options of fields.
fn plain(fields: &Fields, text: &str) -> Result<()> {
    for field in fields {
        let options = FieldOptions::of(field)?;
        if let Some(span) = options.skip.or(options.order.map(|order| order.1)) {
            return Err(Error::new(span, text));
        }
    }
    Ok(())
}
