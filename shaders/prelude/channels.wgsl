// The channels of a convolution, and the vectors that they fill, of which the last may be cut off.

override IN_CHANNELS: u32;
override OUT_CHANNELS: u32;
override IN_VECTORS: u32 = (IN_CHANNELS + 3u) / 4u;
override OUT_VECTORS: u32 = (OUT_CHANNELS + 3u) / 4u;
