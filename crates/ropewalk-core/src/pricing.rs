//! What a call costs.

use std::sync::Arc;

use crate::response::{ChatResponse, Usage};

/// Knows what models cost; implemented by price tables.
///
/// Limits on cost and meters take one of these, so that they need no table themselves.
pub trait Pricing: Send + Sync {
    /// Returns the cost of a call in US dollars, or `None` when the price of the model, or a count
    /// that it depends on, is not known: an unknown cost is never zero.
    fn cost(&self, provider: &str, model: &str, usage: &Usage) -> Option<f64>;

    /// Returns the cost of a reply in US dollars.
    fn cost_of(&self, response: &ChatResponse) -> Option<f64> {
        self.cost(&response.provider, &response.model, &response.usage)
    }
}

/// A shared price table of any type.
pub type DynPricing = Arc<dyn Pricing>;

impl<P: Pricing + ?Sized> Pricing for Arc<P> {
    fn cost(&self, provider: &str, model: &str, usage: &Usage) -> Option<f64> {
        (**self).cost(provider, model, usage)
    }
}

impl<P: Pricing + ?Sized> Pricing for &P {
    fn cost(&self, provider: &str, model: &str, usage: &Usage) -> Option<f64> {
        (**self).cost(provider, model, usage)
    }
}
