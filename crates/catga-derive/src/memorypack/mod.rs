//! `#[derive(MemoryPack)]`: what a type is to .NET, and the three `impl`s that say so.
//!
//! The emitted code names everything by its whole path, because it lands in a module that may call anything `Result`.

mod attributes;
mod enumeration;
mod expand;
mod members;
mod object;
mod raw;
mod union;

use attributes::{Mode, Options};
use proc_macro2::TokenStream;
use syn::{Data, DeriveInput, Error, Result};

/// The `impl`s for the type in `input`, or the errors that it has.
pub(crate) fn expand(input: TokenStream, krate: &str) -> TokenStream {
    let expanded = syn::parse2(input).and_then(|input| implement(&input, krate));
    expanded.unwrap_or_else(Error::into_compile_error)
}

fn implement(input: &DeriveInput, krate: &str) -> Result<TokenStream> {
    let options = Options::of(input, krate)?;
    match (&input.data, options.mode) {
        (Data::Union(data), _) => {
            let text =
                "a Rust `union` does not know which of its fields it holds: use an enum with `#[memorypack(union)]`";
            Err(Error::new_spanned(data.union_token, text))
        }
        (Data::Enum(data), Mode::Union) => union::implement(input, data, &options),
        (Data::Enum(data), _) => enumeration::implement(input, data, &options),
        (Data::Struct(data), Mode::Raw) => raw::implement(input, data, &options),
        (Data::Struct(data), Mode::Transparent) => raw::transparent(input, data, &options),
        (Data::Struct(data), _) => object::implement(input, data, &options),
    }
}
