//! The layers, by the conformance kit and by what each of them changes.

mod fan_out;
