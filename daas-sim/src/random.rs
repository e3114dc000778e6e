//! Repeatable randomness: a short stream keyed by the seed and what it is for (SplitMix64).

/// A keyed source; two with the same key give the same values on every platform.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream(u64);

impl Stream {
    pub(crate) fn new(seed: u64, key: &[u64]) -> Self {
        Self(key.iter().fold(mix(seed), |state, part| mix(state ^ mix(*part))))
    }

    /// A number in 0..1.
    pub(crate) fn unit(self) -> f64 {
        (mix(self.0) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Sixteen bytes.
    pub(crate) fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&mix(self.0 ^ 1).to_le_bytes());
        bytes[8..].copy_from_slice(&mix(self.0 ^ 2).to_le_bytes());
        bytes
    }
}

/// SplitMix64's finaliser over the next state (Steele, Lea, Flood 2014).
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
