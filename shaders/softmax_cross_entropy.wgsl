// The cross-entropy of the softmax of the logits against labels that are a distribution, and its
// derivative, averaged over the batch. In training, SMOOTHING of each label is spread evenly over
// the classes.
// Reads logits and labels, writes image_loss (one number per image) and logit_gradients; CLASSES
// elements per image in the others.
// Dispatch: one invocation per image.

override CLASSES: u32;
override SMOOTHING: f32;

@group(0) @binding(0) var<storage, read> logits: array<Element>;
@group(0) @binding(1) var<storage, read> labels: array<Element>;
@group(0) @binding(2) var<storage, read_write> image_loss: array<Element>;
@group(0) @binding(3) var<storage, read_write> logit_gradients: array<Element>;

fn target_of(label: Element) -> f32 {
    var smoothing = SMOOTHING;
    if (step.training == 0u) {
        smoothing = 0.0;
    }
    return (1.0 - smoothing) * f32(label) + smoothing / f32(CLASSES);
}

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let image = linear_index(global_id, group_count, 256u);
    if (image >= step.images) {
        return;
    }
    let first = image * CLASSES;
    let end = first + CLASSES;

    // Relative to the largest logit nothing overflows, and the sum is at least 1.
    var largest = f32(logits[first]);
    for (var i = first + 1u; i < end; i++) {
        largest = max(largest, f32(logits[i]));
    }
    var sum = 0.0;
    for (var i = first; i < end; i++) {
        sum += exp(f32(logits[i]) - largest);
    }
    let log_sum = log(sum);
    var loss = 0.0;
    var labelled = 0.0;
    for (var i = first; i < end; i++) {
        let label = target_of(labels[i]);
        loss += label * (log_sum - (f32(logits[i]) - largest));
        labelled += label;
    }
    image_loss[image] = Element(loss);
    for (var i = first; i < end; i++) {
        let probability = exp(f32(logits[i]) - largest) / sum;
        let gradient = probability * labelled - target_of(labels[i]);
        logit_gradients[i] = Element(gradient / f32(step.batch) * GRADIENT_SCALE);
    }
}
