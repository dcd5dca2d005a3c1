//! Lists that files add themselves to by one line.

/// Declares the modules of a list, one line for each, and the list of what they hold under one name:
/// the results of a function, or constants. A new one is a file and a line here.
///
/// ```
/// mod layers {
///     base::registry! {
///         /// The names of all layers.
///         pub fn all() -> Vec<&'static str> from name();
///
///         pub mod dense {
///             pub fn name() -> &'static str { "dense" }
///         }
///         pub mod relu {
///             pub fn name() -> &'static str { "relu" }
///         }
///     }
/// }
/// assert_eq!(layers::all(), ["dense", "relu"]);
/// ```
///
/// `cargo fmt` does not look for files inside of a macro: `cargo xtask fmt` formats these as well.
#[macro_export]
macro_rules! registry {
    (
        $(#[$attribute:meta])*
        $list_visibility:vis fn $list:ident $parameters:tt -> Vec<$kind:ty>
            from $item:ident $arguments:tt;
        $($visibility:vis mod $module:ident $body:tt)+
    ) => {
        $($crate::registry!(@module $visibility $module $body);)+

        $(#[$attribute])*
        $list_visibility fn $list $parameters -> Vec<$kind> {
            vec![$($module::$item $arguments),+]
        }
    };
    (
        $(#[$attribute:meta])*
        $list_visibility:vis const $list:ident: [$kind:ty] from $item:ident;
        $($visibility:vis mod $module:ident $body:tt)+
    ) => {
        $($crate::registry!(@module $visibility $module $body);)+

        $(#[$attribute])*
        $list_visibility const $list: &[$kind] = &[$(&$module::$item),+];
    };
    (@module $visibility:vis $module:ident ;) => {
        $visibility mod $module;
    };
    (@module $visibility:vis $module:ident $body:tt) => {
        $visibility mod $module $body
    };
}
