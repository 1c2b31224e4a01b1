//! Objects: a number of members and the members; version tolerant ones with the length of each.

use super::{
    attributes::{Mode, Options},
    expand::{self, Bodies, Inner, lifetime},
    members::{Members, Names, Reading},
};
use proc_macro2::TokenStream;
use quote::{ToTokens as _, format_ident, quote};
use syn::{DataStruct, DeriveInput, Result};

pub(super) fn implement(input: &DeriveInput, data: &DataStruct, options: &Options) -> Result<TokenStream> {
    let krate = &options.krate;
    let de = lifetime(input)?;
    let tolerant = options.mode == Mode::VersionTolerant;
    let members = Members::of(&data.fields, tolerant, input.ident.span())?;
    let type_name = input.ident.to_string();
    let names = Names { krate, de: &de, type_name: &type_name };
    let fewer = if options.exact || members.slots.is_empty() {
        Fewer::Refused
    } else {
        Fewer::Elsewhere(Inner::of(input, options, &de))
    };
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
            missing: quote!(#declare #missing #made),
        },
    )
}

/// What is done with objects of fewer members.
pub(super) enum Fewer {
    Refused,
    /// The code for them stands beside that for all members.
    Here,
    /// It is a function of its own.
    Elsewhere(Inner),
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
        let krate = names.krate;
        let count = self.members.slots.len();
        let known = count as u8;
        let members = names.attempt(quote!(__reader.members(#known)), "");
        let all = names.all(self.members, reading);
        let fewer = match &self.fewer {
            Fewer::Refused => {
                let type_name = names.type_name;
                let wrong = quote!(__reader.error(#krate::ErrorKind::Members).within(#type_name, ""));
                quote!(return ::core::result::Result::Err(#wrong);)
            }
            Fewer::Elsewhere(inner) if reading == Reading::Make => self.elsewhere(inner),
            Fewer::Here | Fewer::Elsewhere(_) => self.older(reading),
        };
        quote! {
            let __count = #members;
            if __count == #count {
                #all
            } else {
                #fewer
            }
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

    /// The same in a function of its own, so that the one for all members is small enough to be inlined. It takes a copy
    /// of the reader and answers the members one by one: what a reference to either leaves behind lies in memory, where
    /// it costs the loops that read objects more than reading them.
    fn elsewhere(&self, inner: &Inner) -> TokenStream {
        let Inner { parameters, clause, arguments, .. } = inner;
        let Names { krate, de, .. } = self.names;
        let (types, variables): (Vec<_>, Vec<_>) =
            self.members.iter().map(|member| (&member.ty, &member.variable)).unzip();
        let declare = self.names.declare(self.members, Reading::Make);
        let older = inner.spelled_out(self.older(Reading::Make));
        let types = types.iter().map(|ty| inner.spelled_out(ty.to_token_stream()));
        let others: Vec<_> = variables.iter().map(|variable| format_ident!("{variable}_older")).collect();
        quote! {
            #[cold]
            #[inline(never)]
            fn __older #parameters (
                __reader: &mut #krate::Reader<#de>,
                __count: ::core::primitive::usize,
            ) -> #krate::Result<(#(#types,)*)> #clause {
                #declare
                #older
                ::core::result::Result::Ok((#(#variables,)*))
            }
            let mut __copy = ::core::clone::Clone::clone(__reader);
            let (#(#others,)*) = __older #arguments (&mut __copy, __count)?;
            *__reader = __copy;
            #(#variables = #others;)*
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
        quote! {
            let __slots = #slots;
            #(#members)*
            #more;
        }
    }
}
