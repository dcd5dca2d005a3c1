//! Every `cpu` form in every set of instructions that the processor has, against the reference.

use runtime::adapter::host::Cpu;
use runtime::isa::Isa;
use runtime::verify;

#[test]
fn every_set_of_instructions_matches_the_reference() {
    for isa in Isa::all() {
        let adapter = Cpu::with_isa(2, isa).expect("the cpu adapter starts");
        for kernel in shaders::ALL {
            let outcomes = verify::kernel(&adapter, kernel).expect("the reference runs");
            for outcome in outcomes {
                assert!(outcome.passed, "{}: {outcome}", isa.name());
            }
        }
    }
}
