// The sizes of a dense layer, and the vectors that they fill, of which the last may be cut off.

override INPUTS: u32;
override OUTPUTS: u32;
override INPUT_VECTORS: u32 = (INPUTS + 3u) / 4u;
override OUTPUT_VECTORS: u32 = (OUTPUTS + 3u) / 4u;
