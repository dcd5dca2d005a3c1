// The sizes of images, and of the windows that a kernel, a pool or an average moves over them.

override IN_HEIGHT: u32;
override IN_WIDTH: u32;
override OUT_HEIGHT: u32;
override OUT_WIDTH: u32;
override KERNEL_HEIGHT: u32;
override KERNEL_WIDTH: u32;
override STRIDE_Y: u32;
override STRIDE_X: u32;
override PAD_TOP: u32;
override PAD_LEFT: u32;

// Windows over one pixel, in each direction.
override WINDOWS_Y: u32 = (KERNEL_HEIGHT + STRIDE_Y - 1u) / STRIDE_Y;
override WINDOWS_X: u32 = (KERNEL_WIDTH + STRIDE_X - 1u) / STRIDE_X;
