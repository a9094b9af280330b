//! Tables of the functions of a library that is found at run time.

/// Makes a table of functions with the library's names and argument types, all of which return a plain number: newer libraries
/// return codes that no enumeration of today has.
macro_rules! functions {
    ($(#[$about:meta])* $table:ident { $($name:ident($($argument:ty),*);)* }) => {
        $(#[$about])*
        #[allow(non_snake_case, reason = "the library's names")]
        #[allow(missing_docs, reason = "the library's documentation is theirs")]
        pub struct $table {
            $(pub $name: unsafe extern "C" fn($($argument),*) -> u32,)*
        }

        impl $table {
            /// All of them, or the name of one that is missing.
            fn load(library: &'static libloading::Library) -> std::result::Result<$table, &'static str> {
                Ok($table {
                    // SAFETY: the types are those of the library's documentation; the library is never closed.
                    $($name: *unsafe { library.get(stringify!($name).as_bytes()) }.map_err(|_| stringify!($name))?,)*
                })
            }
        }
    };
}

pub(super) use functions;
