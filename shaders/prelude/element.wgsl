// How there is stored what there is of each image: activations, and their gradients. With 16-bit
// storage an adapter makes an f16 of it.
alias Element = f32;
