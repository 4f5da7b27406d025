//! Image models.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use crate::error::Result;
use crate::media::Media;
use crate::reply::{Extra, reply_setters, request_setters};
use crate::request::OnUnsupported;
use crate::response::{Usage, Warning};

/// A picture to make or to edit.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct ImageRequest {
    /// What to draw.
    pub prompt: String,
    /// How many pictures; 0 counts as 1.
    pub n: u32,
    /// Width and height in pixels.
    pub size: Option<(u32, u32)>,
    /// Quality level of the provider.
    pub quality: Option<String>,
    /// Seed, where the model takes one.
    pub seed: Option<u64>,
    /// Pictures to start from.
    pub inputs: Vec<Media>,
    /// Where to change the first input: transparent pixels are drawn anew.
    pub mask: Option<Media>,
    /// What to do with what the model cannot honour.
    pub on_unsupported: OnUnsupported,
    /// Fields merged last into the request body, by provider name; `*` for all.
    pub extra: Extra,
}

impl ImageRequest {
    /// Creates a request for one picture.
    pub fn new(prompt: impl Into<String>) -> Self {
        Self {
            prompt: prompt.into(),
            n: 1,
            ..Self::default()
        }
    }

    /// Sets how many pictures to make.
    #[must_use]
    pub fn with_n(mut self, n: u32) -> Self {
        self.n = n;
        self
    }

    /// Sets width and height in pixels.
    #[must_use]
    pub fn with_size(mut self, width: u32, height: u32) -> Self {
        self.size = Some((width, height));
        self
    }

    /// Sets the quality level.
    #[must_use]
    pub fn with_quality(mut self, quality: impl Into<String>) -> Self {
        self.quality = Some(quality.into());
        self
    }

    /// Sets the seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Adds a picture to start from.
    #[must_use]
    pub fn with_input(mut self, image: Media) -> Self {
        self.inputs.push(image);
        self
    }

    /// Sets where to change the first input.
    #[must_use]
    pub fn with_mask(mut self, mask: Media) -> Self {
        self.mask = Some(mask);
        self
    }
}

/// Pictures that were made.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct ImageResponse {
    /// The pictures.
    pub images: Vec<Media>,
    /// The prompt the provider really used.
    pub revised_prompt: Option<String>,
    /// The model that answered, as the provider names it.
    pub model: String,
    /// Tokens used.
    pub usage: Usage,
    /// What was not honoured.
    pub warnings: Vec<Warning>,
    /// The provider's reply, where it says more than the fields above.
    pub raw: Option<Value>,
}

impl ImageResponse {
    /// Creates a response from pictures.
    #[must_use]
    pub fn new(images: Vec<Media>) -> Self {
        Self {
            images,
            ..Self::default()
        }
    }
}

request_setters!(ImageRequest);
reply_setters!(ImageResponse);

/// A model that draws.
#[async_trait]
pub trait ImageModel: Send + Sync {
    /// Returns who runs the model.
    fn provider(&self) -> &str;

    /// Returns the name of the model.
    fn model(&self) -> &str;

    /// Makes pictures, or edits those of the request.
    ///
    /// # Errors
    /// Whatever keeps the model from answering.
    async fn generate(&self, request: &ImageRequest) -> Result<ImageResponse>;
}

/// A shared image model of any type.
pub type DynImageModel = Arc<dyn ImageModel>;

crate::forward::forward! { M: ImageModel =>
    fn provider(&self) -> &str { (**self).provider() }
    fn model(&self) -> &str { (**self).model() }

    async fn generate(&self, request: &ImageRequest) -> Result<ImageResponse> {
        (**self).generate(request).await
    }
}
