//! Forwarding of the ability traits through `Arc`, `Box` and references.

/// Implements a trait for `Arc<T>`, `Box<T>` and `&T` with the given method bodies, in which
/// `**self` is the inner value.
macro_rules! forward {
    ($param:ident: $trait:ident => $($body:tt)*) => {
        #[async_trait::async_trait]
        impl<$param: $trait + ?Sized> $trait for std::sync::Arc<$param> { $($body)* }
        #[async_trait::async_trait]
        impl<$param: $trait + ?Sized> $trait for Box<$param> { $($body)* }
        #[async_trait::async_trait]
        impl<$param: $trait + ?Sized> $trait for &$param { $($body)* }
    };
}

pub(crate) use forward;
