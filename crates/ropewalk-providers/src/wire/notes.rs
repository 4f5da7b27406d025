//! What a wire could not honour.

use std::borrow::Cow;

use ropewalk_core::{Error, ErrorKind, OnUnsupported, Result, Warning};

/// Collects what a wire leaves out, under the policy of the request.
#[derive(Debug, Clone, PartialEq)]
pub struct Notes {
    policy: OnUnsupported,
    warnings: Vec<Warning>,
}

impl Notes {
    /// Creates an empty collection under a policy.
    #[must_use]
    pub fn new(policy: OnUnsupported) -> Self {
        Self {
            policy,
            warnings: Vec::new(),
        }
    }

    /// Notes that `option` is left out because of `reason`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] under [`OnUnsupported::Error`].
    pub fn leave_out(
        &mut self,
        option: impl Into<Cow<'static, str>>,
        reason: impl Into<Cow<'static, str>>,
    ) -> Result<()> {
        let warning = Warning::new(option, reason);
        match self.policy {
            OnUnsupported::Error => {
                return Err(Error::new(ErrorKind::Unsupported, warning.to_string()));
            }
            OnUnsupported::Ignore => {}
            _ => self.warnings.push(warning),
        }
        Ok(())
    }

    /// Notes that `option` is left out, if it is set.
    ///
    /// # Errors
    /// As [`leave_out`](Self::leave_out).
    pub fn unsupported<T>(
        &mut self,
        option: &'static str,
        value: Option<&T>,
        reason: &'static str,
    ) -> Result<()> {
        match value {
            Some(_) => self.leave_out(option, reason),
            None => Ok(()),
        }
    }

    /// Returns the warnings.
    #[must_use]
    pub fn into_warnings(self) -> Vec<Warning> {
        self.warnings
    }

    /// Returns the warnings so far.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}
