// What a gradient of 1 is stored as; not 1 where it has 16 bits and would be too small for them.
override GRADIENT_SCALE: f32 = 1.0;
