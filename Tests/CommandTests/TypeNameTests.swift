import Compute
import TSPEFT
import TensorCore
import TestSupport
import Testing
import Transforms

@testable import tspeft

/// Names of types mean the same in every command.
@Suite struct TypeNameTests {
    /// What users write, and what the program calls it.
    static let names = [
        ("q4_k", "Q4_K_M"), ("Q4_K_M", "Q4_K_M"), ("q4_K_s", "Q4_K_S"), ("q3_k", "Q3_K_M"), ("q3_k_l", "Q3_K_L"),
        ("q5_k", "Q5_K_M"), ("Q5_K_S", "Q5_K_S"), ("q6_k", "Q6_K"), ("q2_k", "Q2_K"), ("Q8_0", "Q8_0"),
        ("f16", "F16"), ("float16", "F16"), ("FP16", "F16"), ("half", "F16"), ("bf16", "BF16"), ("bfloat16", "BF16"),
        ("f32", "F32"), ("Float32", "F32"), ("fp32", "F32"), ("mxfp4_moe", "MXFP4"), ("iq4_nl", "IQ4_NL"),
    ]
    /// What `llama-quantize` takes and no command here writes.
    static let unwritten = [
        "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS", "IQ3_S", "IQ3_M", "IQ4_XS",
        "Q2_K_S", "iq2_m", "q2_k_s",
    ]

    @Test func everyNameIsOfOneType() throws {
        for (name, meant) in Self.names {
            let mix = try #require(QuantizationMix(named: name), "\(name)")
            #expect(mix.name == meant && !TypeNames.isUnwritten(name), "\(name)")
        }
        for mix in QuantizationMix.all {
            #expect(QuantizationMix(named: mix.name) == mix && !TypeNames.isUnwritten(mix.name), "\(mix.name)")
        }
        for name in Self.unwritten { #expect(QuantizationMix(named: name) == nil && TypeNames.isUnwritten(name)) }
    }

    @Test func otherNamesWriteTheSameFile() throws {
        let base = fixture("tiny-llama")
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            for (index, pair) in [("q4_k", "Q4_K_M"), ("float16", "f16"), ("FP32", "f32")].enumerated() {
                let files = ["a\(index).gguf", "b\(index).gguf"]
                for (file, name) in zip(files, [pair.0, pair.1]) {
                    let outcome = try program.run(["convert", base, "-o", file, "--type", name])
                    #expect(outcome.status == 0, "\(outcome.errors)")
                }
                #expect(try readFile(folder + "/" + files[0]) == readFile(folder + "/" + files[1]), "\(pair)")
            }
        }
    }

    @Test func whatIsNotWrittenIsRefusedByName() throws {
        let (base, gguf) = (fixture("tiny-llama"), fixture("tiny-llama-gguf/tiny-llama-q8_0.gguf"))
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            let merge = ["merge", gguf, "--adapter", run.path("adapter"), "-o", "x.gguf"]
            for (command, option) in [
                (["convert", base, "-o", "x.gguf"], "--type"), (merge, "--changed-type"),
            ] {
                for name in ["iq3_m", "IQ4_XS", "q2_k_s"] {
                    let outcome = try program.run(command + [option, name])
                    #expect(outcome.status == 69 && outcome.errors.contains("\(option) \(name)"), "\(outcome.errors)")
                    #expect(outcome.errors.contains("q4_k_m"))
                }
                let unknown = try program.run(command + [option, "q9_9"])
                #expect(unknown.status == 64 && unknown.errors.contains("q4_k_m"), "\(unknown.errors)")
            }
            let kept = try program.run(["convert", base, "-o", "x.gguf", "--type", "copy"])
            #expect(kept.status == 64 && kept.errors.contains("leave it out"), "\(kept.errors)")
        }
    }

    @Test func computeTypesHaveTheSameNamesAndAnOlderOption() throws {
        for (name, meant) in [
            ("auto", ComputeOptions.Precision.auto), ("F32", .f32), ("float32", .f32), ("fp32", .f32),
            ("bfloat16", .bf16), ("BF16", .bf16),
        ] {
            for option in ["--compute-type", "--dtype"] {
                let arguments = try ComputeArguments.parse([option, name])
                #expect(arguments.options.precision == meant, "\(option) \(name)")
            }
        }
        #expect(throws: (any Error).self) { try ComputeArguments.parse(["--compute-type", "f16"]) }
        #expect(throws: (any Error).self) {
            try ComputeArguments.parse(["--compute-type", "f32", "--dtype", "f32"])
        }
        for command in ["train", "eval", "generate", "demo"] {
            let help = try Program(folder: packageRoot).run([command, "--help"]).output
            #expect(help.contains("--compute-type") && !help.contains("--dtype"), "\(command)")
        }
    }
}
