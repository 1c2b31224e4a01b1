//! `#[handler]`: the function as it is, with checks beside it that fail at the line of what is wrong.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Error, FnArg, ItemFn, Path, Result, parse_quote, spanned::Spanned as _};

/// The function and its checks, or what is wrong with its shape.
pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let original = item.clone();
    let expanded = krate(arguments).and_then(|krate| checks(&krate, &syn::parse2(item)?));
    match expanded {
        Ok(checks) => quote!(#original #checks),
        Err(error) => {
            let error = error.into_compile_error();
            quote!(#original #error)
        }
    }
}

/// `crate = path`, or nothing.
fn krate(arguments: TokenStream) -> Result<Path> {
    if arguments.is_empty() {
        return Ok(parse_quote!(::catga));
    }
    let pair: syn::MetaNameValue = syn::parse2(arguments)?;
    if !pair.path.is_ident("crate") {
        return Err(Error::new_spanned(&pair.path, "only `crate = path` can be said here"));
    }
    let value = &pair.value;
    syn::parse2(quote!(#value))
}

fn checks(krate: &Path, function: &ItemFn) -> Result<TokenStream> {
    let signature = &function.sig;
    if signature.asyncness.is_none() {
        return Err(Error::new_spanned(signature.fn_token, "a handler is an `async fn`"));
    }
    if !signature.generics.params.is_empty() {
        let text = "a handler is checked with its types; write `#[catga::handler]` on functions that are not generic";
        return Err(Error::new_spanned(&signature.generics, text));
    }
    let mut types = Vec::new();
    for input in &signature.inputs {
        match input {
            FnArg::Typed(input) => types.push(&input.ty),
            FnArg::Receiver(receiver) => {
                return Err(Error::new_spanned(receiver, "a handler is a function, not a method"));
            }
        }
    }
    let Some((message, parameters)) = types.split_first() else {
        return Err(Error::new_spanned(&signature.ident, "a handler takes a message as its first parameter"));
    };
    if parameters.len() > 8 {
        return Err(Error::new_spanned(parameters[8], "a handler takes at most eight parameters after its message"));
    }
    let check_message = quote_spanned!(message.span()=> __message::<#message>(););
    let check_parameters = parameters.iter().map(|ty| quote_spanned!(ty.span()=> __parameter::<#ty>();));
    let names: Vec<_> = (0..types.len()).map(|index| quote::format_ident!("__{index}")).collect();
    let ident = &signature.ident;
    let send = quote_spanned!(ident.span()=> __send(&#ident(#(#names),*)););
    Ok(quote! {
        const _: () = {
            fn __message<M: #krate::Message>() {}
            fn __parameter<P: #krate::FromCall>() {}
            fn __send<F: ::core::marker::Send>(_: &F) {}
            #[allow(unreachable_code, dead_code, clippy::too_many_arguments)]
            fn __check(#(#names: #types),*) {
                #check_message
                #(#check_parameters)*
                #send
            }
        };
    })
}
