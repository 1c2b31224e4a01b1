//! Objects: a number of members and the members; version tolerant ones with the length of each.

use super::{
    attributes::{Mode, Options},
    expand::{self, Bodies, lifetime},
    members::{Members, Names, Reading},
};
use proc_macro2::TokenStream;
use quote::quote;
use syn::{DataStruct, DeriveInput, Result};

pub(super) fn implement(input: &DeriveInput, data: &DataStruct, options: &Options) -> Result<TokenStream> {
    let krate = &options.krate;
    let de = lifetime(input)?;
    let tolerant = options.mode == Mode::VersionTolerant;
    let members = Members::of(&data.fields, tolerant, input.ident.span())?;
    let type_name = input.ident.to_string();
    let names = Names { krate, de: &de, type_name: &type_name };
    let fewer = if options.exact || members.slots.is_empty() { Fewer::Refused } else { Fewer::Elsewhere };
    let object = Object { members: &members, names: &names, fewer };
    let this = quote!(Self);
    let bind = members.pattern(&this);
    let value = members.value(&this);

    let (size, encode) =
        if tolerant { (object.tolerant_size(), object.tolerant_encode()) } else { (object.size(), object.encode()) };
    let read = |reading| if tolerant { object.tolerant_read(reading) } else { object.read(reading) };
    let ok = |value: TokenStream| quote!(::core::result::Result::Ok(#value));
    let (decode, place, check) = (read(Reading::Make), read(Reading::InPlace), read(Reading::Check));
    let (made, done) = (ok(value.clone()), ok(quote!(())));
    let skipped = &members.skipped;
    let (decode_older, check_older) = match tolerant {
        true => Default::default(),
        false => object.elsewhere(&value),
    };
    let declare = names.declare(&members, Reading::Make);
    let missing: TokenStream = members
        .iter()
        .map(|member| {
            let (variable, ty) = (&member.variable, &member.ty);
            let value = names.attempt(quote!(<#ty as #krate::Decode<#de>>::missing()), &member.label);
            quote!(#variable = #value;)
        })
        .collect();
    let kind = match options.value_type {
        true => quote!(#krate::Kind::Value(1)),
        false => quote!(#krate::Kind::Object),
    };
    expand::implement(
        input,
        options,
        Bodies {
            types: members.types(),
            kind,
            checked: quote!(false),
            size: quote!(let #bind = self; #size),
            encode: quote!(let #bind = self; #encode),
            decode: quote!(#declare #decode #made),
            decode_in_place: quote! {
                #(self.#skipped = ::core::default::Default::default();)*
                let #bind = self;
                #place
                #done
            },
            check: quote!(#check #done),
            decode_older,
            check_older,
            missing: quote!(#declare #missing #made),
        },
    )
}

/// What is done with objects of fewer members.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fewer {
    Refused,
    /// The code for them stands beside that for all members.
    Here,
    /// It is a function of its own.
    Elsewhere,
}

/// The code of an object, over variables that hold or borrow its members.
pub(super) struct Object<'a> {
    pub(super) members: &'a Members,
    pub(super) names: &'a Names<'a>,
    pub(super) fewer: Fewer,
}

impl Object<'_> {
    fn sizes(&self) -> impl Iterator<Item = TokenStream> {
        let krate = self.names.krate;
        self.members.iter().map(move |member| {
            let (ty, variable) = (&member.ty, &member.variable);
            quote!(<#ty as #krate::Encode>::size(#variable, __sizer))
        })
    }

    pub(super) fn size(&self) -> TokenStream {
        let sizes = self.sizes();
        quote!(1 #(+ #sizes)*)
    }

    /// Writes the number of members and the members, with one test for the room of raw ones in a row.
    pub(super) fn encode(&self) -> TokenStream {
        let krate = self.names.krate;
        let count = self.members.slots.len() as u8;
        let mut header = Some(quote!(__out.put([#count]);));
        let mut code = TokenStream::new();
        for piece in self.members.pieces() {
            let (types, variables): (Vec<_>, Vec<_>) =
                piece.iter().map(|member| (&member.ty, &member.variable)).unzip();
            let each = quote!(#(<#types as #krate::Encode>::encode(#variables, __out);)*);
            let first = header.take();
            if piece.len() + first.iter().len() < 2 {
                code.extend(each);
                continue;
            }
            let extra = first.iter().len();
            let size = quote!(const { #krate::__private::run(&[#(<#types as #krate::Shape>::KIND),*]) });
            code.extend(quote! {
                if #size > 0 {
                    __out.run(#size + #extra, |__out| { #first #each });
                } else {
                    #first
                    #each
                }
            });
        }
        quote!(#header #code)
    }

    /// Reads the number of members and the members; where there are fewer, the rest are missing.
    pub(super) fn read(&self, reading: Reading) -> TokenStream {
        let names = self.names;
        let count = self.members.slots.len();
        let known = count as u8;
        let members = names.attempt(quote!(__reader.members(#known)), "");
        let all = names.all(self.members, reading);
        let krate = names.krate;
        let wrong = quote!(::core::result::Result::Err(__reader.error(#krate::ErrorKind::Members)));
        let otherwise = match self.fewer {
            Fewer::Refused => names.attempt(wrong, ""),
            Fewer::Here => {
                let older = self.older(reading);
                return quote!(let __count = #members; if __count == #count { #all } else { #older });
            }
            Fewer::Elsewhere => {
                let function = if reading == Reading::Check { quote!(check_older) } else { quote!(decode_older) };
                let read = names.attempt(quote!(<Self as #krate::Decode<'_>>::#function(&mut __older, __count)), "");
                let done = match reading {
                    Reading::InPlace => quote!({
                        *self = __older_value;
                    }),
                    Reading::Make | Reading::Check => quote!(__older_value),
                };
                // A copy of the reader, so that no reference to it leaves the function that is inlined.
                quote! {
                    let mut __older = ::core::clone::Clone::clone(__reader);
                    let __older_value = #read;
                    *__reader = __older;
                    return ::core::result::Result::Ok(#done);
                }
            }
        };
        let bind = (reading == Reading::InPlace).then(|| {
            let bind = self.members.pattern(&quote!(Self));
            quote!(let #bind = self;)
        });
        quote! {
            let __count = #members;
            if __count != #count {
                #otherwise
            }
            #bind
            #all
        }
    }

    /// Reads the members that are there, `__count` of them, and makes the others.
    fn older(&self, reading: Reading) -> TokenStream {
        let each = self.members.iter().enumerate().map(|(index, member)| {
            let present = self.names.present(member, reading, &quote!(__reader));
            let missing = self.names.missing(member, reading);
            quote!(if __count > #index { #present } else { #missing })
        });
        each.collect()
    }

    /// The bodies of the functions for objects that have fewer members.
    fn elsewhere(&self, value: &TokenStream) -> (TokenStream, TokenStream) {
        let declare = self.names.declare(self.members, Reading::Make);
        let (make, check) = (self.older(Reading::Make), self.older(Reading::Check));
        let ok = quote!(::core::result::Result::Ok);
        match self.members.slots.is_empty() || self.fewer != Fewer::Elsewhere {
            true => (TokenStream::new(), TokenStream::new()),
            false => (quote!(#declare #make #ok(#value)), quote!(#check #ok(()))),
        }
    }

    fn lengths(&self) -> TokenStream {
        let krate = self.names.krate;
        let lengths = self.members.slots.iter().map(|slot| match slot {
            Some(member) => {
                let (ty, variable) = (&member.ty, &member.variable);
                quote!(<#ty as #krate::Encode>::size(#variable, __sizer))
            }
            None => quote!(0),
        });
        let count = self.members.slots.len();
        quote!(let __lengths: [::core::primitive::usize; #count] = [#(#lengths),*];)
    }

    fn tolerant_size(&self) -> TokenStream {
        let lengths = self.lengths();
        quote! {
            #lengths
            __sizer.slots(&__lengths) + __lengths.iter().sum::<::core::primitive::usize>()
        }
    }

    fn tolerant_encode(&self) -> TokenStream {
        let krate = self.names.krate;
        let lengths = self.lengths();
        let (types, variables): (Vec<_>, Vec<_>) =
            self.members.iter().map(|member| (&member.ty, &member.variable)).unzip();
        quote! {
            let __sizer = &mut __out.sizer();
            #lengths
            __out.slots(&__lengths);
            #(<#types as #krate::Encode>::encode(#variables, __out);)*
        }
    }

    /// Reads the lengths of the members and the members. One of no length is missing, and so is one that older data does
    /// not have; what newer data has more is passed over.
    fn tolerant_read(&self, reading: Reading) -> TokenStream {
        let names = self.names;
        let count = self.members.slots.len();
        let slots = names.attempt(quote!(__reader.slots::<#count>()), "");
        let members = self.members.slots.iter().enumerate().map(|(index, slot)| {
            let length = quote!(__slots.lengths[#index]);
            let Some(member) = slot else {
                let gap = names.attempt(quote!(__reader.bytes(#length)), "");
                return quote!(#gap;);
            };
            let present = names.present(member, reading, &quote!(__reader));
            let missing = names.missing(member, reading);
            let spent = names.attempt(quote!(__reader.spent(__before, #length)), &member.label);
            quote! {
                if #length == 0 {
                    #missing
                } else {
                    let __before = __reader.remaining();
                    #present
                    #spent
                }
            }
        });
        let more = names.attempt(quote!(__reader.bytes(__slots.more)), "");
        let bind = (reading == Reading::InPlace).then(|| {
            let bind = self.members.pattern(&quote!(Self));
            quote!(let #bind = self;)
        });
        quote! {
            let __slots = #slots;
            #bind
            #(#members)*
            #more;
        }
    }
}
