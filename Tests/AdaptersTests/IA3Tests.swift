import CheckpointIO
import Models
import TensorCore
import TestSupport
import Testing

@testable import Adapters

/// IA3's file, its modules, and where it cannot be; what it computes is held against its formula in `MethodTests` and
/// against peft in the golden case.
@Suite struct IA3Tests {
    private static let folder = fixture("golden/llama-ia3/adapter")
    private static let modules = ["self_attn.k_proj", "self_attn.v_proj", "mlp.down_proj"].map {
        "model.layers.1." + $0
    }

    @Test func whatPeftWroteIsReadAndWrittenBack() throws {
        let adapter = try AdapterDirectory.read(Self.folder)
        #expect(adapter.configuration.methodName == "ia3" && adapter.modules.count == 6)
        #expect(adapter.configuration.rank == nil && adapter.configuration.scaling(for: Self.modules[0]) == 1)
        #expect(adapter.tensor(Self.modules[0], ".ia3_l")?.shape == [16, 1])
        #expect(adapter.tensor(Self.modules[2], ".ia3_l")?.shape == [1, 48])
        try withTemporaryFolder { folder in
            try adapter.write(to: folder + "/again")
            let again = try AdapterDirectory.read(folder + "/again")
            #expect(again.configuration == adapter.configuration && again.tensors == adapter.tensors)
            func fields(_ path: String) throws -> JSONValue {
                try JSONValue.parse(readFile(path + "/adapter_config.json"))
            }
            let (written, read) = (try fields(folder + "/again"), try fields(Self.folder))
            for (name, value) in try #require(read.objectValue).members { #expect(written[name] == value, "\(name)") }
            #expect(written.objectValue?.count == read.objectValue?.count)
        }
    }

    @Test func namesOfFeedforwardModulesAreEndsOfPaths() {
        let names = IA3Settings(feedforward: .names(["proj"]))
        #expect(Self.modules.allSatisfy(names.scalesInput), "as in peft, whatever stands before the name")
        let expression = IA3Settings(feedforward: .expression(#".*\.mlp\.down_proj"#))
        #expect(Self.modules.map(expression.scalesInput) == [false, false, true])
        #expect(
            expression.restricted(to: NameSet(Self.modules)) == IA3Settings(feedforward: .names([Self.modules[2]])))
    }

    @Test func feedforwardModulesMustBeTargets() throws {
        let settings = IA3Settings(feedforward: .names(["down_proj"]))
        #expect(throws: AdapterError.self) {
            try AdapterConfiguration(settings, isGated: true, targets: .names(["k_proj"]))
        }
        _ = try AdapterConfiguration(settings, isGated: true, targets: .names(["k_proj", "down_proj"]))
        let reader = FieldReader(["feedforward_modules": .null], file: "adapter_config.json")
        let error = #expect(throws: AdapterError.self) { try IA3Settings(reading: reader) }
        #expect(error?.description.contains("'feedforward_modules'") == true)
    }

    /// peft's IA3 scales a layer's bias with its output and ours does not, so what both would read is refused.
    @Test func denseFormIsRefusedWhereAnOutputHasABias() throws {
        let settings = IA3Settings(feedforward: .names(["down_proj"]))
        func obstacle(_ path: String, gated: Bool, bias: Bool) throws -> String? {
            let configuration = try AdapterConfiguration(settings, isGated: gated, targets: .allLinear)
            return IA3.obstacle(
                at: LinearModule(path: path, outputSize: 4, inputSize: 4, hasBias: bias), configuration)
        }
        #expect(try obstacle("k_proj", gated: false, bias: true)?.contains("bias") == true)
        #expect(try obstacle("k_proj", gated: true, bias: true) == nil)
        #expect(try obstacle("k_proj", gated: false, bias: false) == nil)
        #expect(try obstacle("down_proj", gated: false, bias: true) == nil)
    }
}
