//! Says what photos show: `cargo run --release --example predict -- runs/pipeline-001 cat.jpg dog.png`

use std::error::Error;

use gradflow::{Image, Run};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("expected a run's folder, then PNG or JPEG files")?;
    let model = Run::open(folder)?.best()?.model()?;
    for file in arguments {
        let prediction = model.predict(&Image::from_file(&file))?;
        let classes: Vec<String> = prediction
            .top(3)
            .into_iter()
            .map(|(class, probability)| format!("{class} {probability:.4}"))
            .collect();
        println!("{file}: {}", classes.join(", "));
    }
    Ok(())
}
