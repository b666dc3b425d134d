import CheckpointIO
import Compute
import ModelTestSupport
import TensorCore
import TestSupport
import Testing

@testable import Adapters
@testable import Models

/// Layers that are trained and saved whole, as peft writes and reads them.
@Suite struct WholeModulesTests {
    private static let golden = fixture("golden/llama-lora-dense-saved")
    private static let keys = [
        "base_model.model.lm_head.weight", "base_model.model.model.embed_tokens.weight",
    ]
    /// F32 against float64 through two layers.
    private static let logitsTolerance = 1e-5

    /// The adapter that peft wrote, after a change to its parts.
    private static func directory(
        _ change: (inout JSONObject, inout [AdapterTensor]) -> Void = { _, _ in }
    ) throws -> AdapterDirectory {
        let read = try AdapterDirectory.read(golden + "/adapter_final")
        var fields = read.configuration.json.objectValue!
        var tensors = read.allTensors
        change(&fields, &tensors)
        return try AdapterDirectory(
            configuration: AdapterConfiguration(json: .object(fields), file: "adapter_config.json"),
            modules: read.modules, tensors: tensors, origin: AdapterOrigin(path: "adapter"))
    }

    @Test func whatPeftWroteIsReadAndWrittenBack() throws {
        let read = try Self.directory()
        #expect(read.configuration.modulesToSave == ["lm_head", "embed_tokens"])
        #expect(read.savedModules.map(\.name) == Self.keys)
        #expect(read.savedModules.allSatisfy { $0.shape == [91, 24] })
        #expect(read.tensors.count == 16)
        try withTemporaryFolder { folder in
            try read.write(to: folder + "/again")
            let again = try AdapterDirectory.read(folder + "/again")
            let peft = try SafetensorsFile.open(Self.golden + "/adapter_final/adapter_model.safetensors")
            let ours = try SafetensorsFile.open(folder + "/again/adapter_model.safetensors")
            #expect(Set(ours.tensors.map(\.name)) == Set(peft.tensors.map(\.name)))
            for record in peft.tensors {
                let isSame = try ours.floats(of: ours.requiredRecord(record.name)) == peft.floats(of: record)
                #expect(isSame, "\(record.name)")
            }
            #expect(again.configuration.json == read.configuration.json)
            #expect(
                again.configuration.json["modules_to_save"] == .array([.string("lm_head"), .string("embed_tokens")]))
            #expect(again.parameterCount == read.parameterCount)
            #expect(read.parameterCount == read.allTensors.reduce(0) { $0 + $1.values.count })
        }
    }

    private func logits(_ directory: AdapterDirectory, _ context: ComputeContext) throws -> [Float] {
        let checkpoint = try ModelCheckpoint.open(Self.golden + "/model")
        let model = try checkpoint.makeModel(context)
        _ = try InjectedAdapter(
            into: model, directory.configuration, tensors: directory.allTensors, thresholds: [:], source: "adapter")
        let batch = try SafetensorsFile.open(Self.golden + "/batch.safetensors")
        let (ids, mask) = (try batch.integers("input_ids"), try batch.integers("attention_mask"))
        // The first step's sequences without their padding.
        return try (0..<3).flatMap { row in
            let real = (row * 12..<row * 12 + 12).filter { mask[$0] == 1 }
            return try AdaptedModel.logits(model, [real.map { Int32(ids[$0]) }])
        }
    }

    @Test func logitsAreThoseOfPeftsModel() throws {
        let found = try logits(Self.directory(), ComputeContext(dtype: .f32, threadCount: 1))
        let reference = try SafetensorsFile.open(Self.golden + "/final.safetensors")
        let batch = try SafetensorsFile.open(Self.golden + "/batch.safetensors")
        let mask = try batch.integers("attention_mask")[..<36]
        let values = try reference.floats(of: reference.requiredRecord("logits"))
        let expected = mask.indices.filter { mask[$0] == 1 }.flatMap { values[$0 * 91..<$0 * 91 + 91] }
        #expect(relativeError(found, expected) < Self.logitsTolerance)
        // Neither layer is the base's.
        for name in ["lm_head", "embed_tokens"] {
            let without = try Self.directory { fields, tensors in
                fields["modules_to_save"] = .array([.string(name)])
                tensors.removeAll { Self.keys.contains($0.name) && !$0.name.contains(name) }
            }
            let partly = try logits(without, ComputeContext(dtype: .f32, threadCount: 1))
            #expect(relativeError(partly, expected) > 0.01)
        }
    }

    @Test func parametersEndWithTheWholeLayers() throws {
        let context = ComputeContext(dtype: .bf16, threadCount: 1)
        let checkpoint = try ModelCheckpoint.open(Self.golden + "/model")
        let directory = try Self.directory().validated(against: checkpoint.linearModules)
        let model = try checkpoint.makeModel(context)
        let adapter = try InjectedAdapter(
            into: model, directory.configuration, tensors: directory.allTensors.reversed(), thresholds: [:],
            source: "adapter")
        #expect(adapter.parameters.map(\.name) == (directory.tensors + directory.savedModules).map(\.name))
        let isSame = adapter.tensors.map(\.values) == directory.allTensors.map(\.values)
        #expect(isSame)
        let weight = try #require(model.trainedHead)
        let isHead = weight.value.toArray() == directory.savedModules[0].values
        #expect(isHead)
        // A changed value is computed with once the adapter is prepared.
        weight.value.copy(from: [Float](repeating: 3, count: weight.value.count))
        adapter.prepare()
        #expect(model.head!.copiedWeight.toArray().allSatisfy { $0 == 3 })
    }

    /// The error of checking against the base and of putting the adapter into a model.
    private func refusal(
        _ change: (inout JSONObject, inout [AdapterTensor]) -> Void
    ) throws -> (any ReportableError)? {
        let directory: AdapterDirectory
        do { directory = try Self.directory(change) } catch { return error as? any ReportableError }
        let checkpoint = try ModelCheckpoint.open(Self.golden + "/model")
        let model = try checkpoint.makeModel(ComputeContext(dtype: .f32, threadCount: 1))
        let checked = #expect(throws: (any Error).self) { try directory.wholeModules(of: checkpoint) }
        let injected = #expect(throws: (any Error).self) {
            try InjectedAdapter(
                into: model, directory.configuration, tensors: directory.allTensors, thresholds: [:],
                source: "adapter")
        }
        let errors = [checked, injected].map { $0 as? any ReportableError }
        #expect(errors[0]?.exitStatus == errors[1]?.exitStatus)
        return errors[0]
    }

    @Test func layersThatCannotBeTrainedWholeAreRefusedByName() throws {
        let error = try refusal { fields, tensors in
            fields["modules_to_save"] = .array(["lm_head", "embed_tokens", "norm"].map { .string($0) })
            tensors.append(AdapterTensor("base_model.model.model.norm.weight", [24], [Float](repeating: 1, count: 24)))
        }
        #expect(error?.exitStatus == .unsupported)
        #expect(error?.description.contains("'norm'") == true)
    }

    @Test func tensorsThatDoNotFitAreRefused() throws {
        let stray = try refusal { _, tensors in
            tensors.append(AdapterTensor("base_model.model.lm_head.bias", [91], .init(repeating: 0, count: 91)))
        }
        #expect(stray?.exitStatus == .badData && stray?.description.contains("lm_head.bias") == true)
        let shape = try refusal { _, tensors in
            let index = tensors.firstIndex { $0.name == Self.keys[1] }!
            tensors[index] = AdapterTensor(Self.keys[1], [90, 24], .init(repeating: 0, count: 90 * 24))
        }
        #expect((shape as? AdapterError).map { if case .wrongShape = $0 { true } else { false } } == true)
        #expect(shape?.description.contains("expected [91, 24]") == true)
    }

    @Test func directoryNeedsWhatItsConfigurationNames() throws {
        func error(_ change: (inout JSONObject, inout [AdapterTensor]) -> Void) throws -> String? {
            let error = #expect(throws: AdapterError.self) { try Self.directory(change) }
            #expect(error?.exitStatus == .badData)
            return error?.description
        }
        let missing = try error { _, tensors in tensors.removeAll { $0.name == Self.keys[0] } }
        #expect(missing?.contains("'base_model.model.lm_head.weight' is missing") == true)
        let unnamed = try error { fields, _ in fields["modules_to_save"] = .array([.string("lm_head")]) }
        #expect(unnamed?.contains(Self.keys[1]) == true)
        let twice = try error { _, tensors in tensors.append(tensors.first { $0.name == Self.keys[0] }!) }
        #expect(twice?.contains("twice") == true)
        let infinite = try error { _, tensors in
            let index = tensors.firstIndex { $0.name == Self.keys[0] }!
            tensors[index].values[7] = .infinity
        }
        #expect(infinite?.contains("at element 7") == true)
    }

    /// Named by peft in more than one way, but one layer.
    @Test func layerNamedTwiceIsOne() throws {
        let directory = try Self.directory { fields, _ in
            fields["modules_to_save"] = .array(
                ["model.embed_tokens", "lm_head", "embed_tokens"].map { .string($0) })
        }
        #expect(directory.savedModules.map(\.name) == Self.keys.reversed())
        let found = try directory.wholeModules(of: ModelCheckpoint.open(Self.golden + "/model"))
        #expect(found.map(\.module.role) == [.embedding, .outputHead])
    }

    @Test func restrictedAdapterKeepsItsWholeLayers() throws {
        let directory = try Self.directory()
        let kept = [directory.modules[1], directory.modules[4]]
        let restricted = try directory.restricted(to: kept, configuration: directory.configuration.restricted(to: kept))
        #expect(restricted.modules == kept)
        let isSame = restricted.savedModules.map(\.values) == directory.savedModules.map(\.values)
        #expect(isSame)
    }
}
