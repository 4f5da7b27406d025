//! GGUF files byte by byte, so that tests can break any of them.

#[derive(Default)]
pub(crate) struct Raw(pub(crate) Vec<u8>);

impl Raw {
    pub(crate) fn header(version: u32, tensors: u64, keys: u64) -> Self {
        Self(b"GGUF".to_vec()).u32(version).u64(tensors).u64(keys)
    }

    pub(crate) fn u32(mut self, x: u32) -> Self {
        self.0.extend(x.to_le_bytes());
        self
    }

    pub(crate) fn u64(mut self, x: u64) -> Self {
        self.0.extend(x.to_le_bytes());
        self
    }

    pub(crate) fn text(self, text: &[u8]) -> Self {
        let mut out = self.u64(text.len() as u64);
        out.0.extend(text);
        out
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub(crate) fn key_u32(self, key: &str, value: u32) -> Self {
        self.text(key.as_bytes()).u32(4).u32(value)
    }

    pub(crate) fn tensor(self, name: &str, dims: &[u64], ty: u32, offset: u64) -> Self {
        let mut out = self.text(name.as_bytes()).u32(dims.len() as u32);
        for &dim in dims {
            out = out.u64(dim);
        }
        out.u32(ty).u64(offset)
    }

    pub(crate) fn data(mut self, alignment: usize, n: usize) -> Vec<u8> {
        let start = self.0.len().next_multiple_of(alignment);
        self.0.resize(start + n, 0x55);
        self.0
    }
}
