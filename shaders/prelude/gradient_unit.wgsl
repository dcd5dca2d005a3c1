// What a stored gradient of 1 is; not 1 where gradients have 16 bits and are scaled for them.
override GRADIENT_UNIT: f32 = 1.0;
