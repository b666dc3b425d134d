import CheckpointIO
import TensorCore
import TestSupport
import Testing

@testable import Adapters
@testable import Models

/// A small adapter over two modules (rank 2; 4 -> 3 and 3 -> 5) that tests change.
struct SampleAdapter {
    static let modules: [LinearModule] = [
        LinearModule(path: "model.layers.2.self_attn.q_proj", outputSize: 3, inputSize: 4),
        LinearModule(path: "model.layers.10.mlp.up_proj", outputSize: 5, inputSize: 3),
    ]

    static func configuration(gated: Bool, rank: Int = 2) throws -> AdapterConfiguration {
        var configuration = try AdapterConfiguration(
            LoRASettings(rank: rank, alpha: 4), isGated: gated, targets: .names(["q_proj", "up_proj"]))
        configuration.taskType = "CAUSAL_LM"
        configuration.baseModelPath = "some/base"
        return configuration
    }

    static func tensors() -> [AdapterTensor] {
        var random = RandomStream(seed: 11)
        return modules.flatMap { module in
            [(PEFTNames.loraA, [2, module.inputSize]), (PEFTNames.loraB, [module.outputSize, 2])].map {
                suffix, shape in
                let count = shape[0] * shape[1]
                return AdapterTensor(
                    name: PEFTNames.key(module.path, suffix), shape: shape,
                    values: (0..<count).map { _ in Float(random.nextUniform() - 0.5) })
            }
        }
    }

    static func statistics() -> AdapterStatistics {
        AdapterStatistics(
            source: "dev.json, 2 records",
            modules: modules.enumerated().map { index, module in
                var entry = ModuleStatistics(module: module.path, rank: 2)
                entry.tokens = 10
                entry.active = 4 + index
                entry.sumUpdateSquared = 1.0 / 3
                entry.sumActiveUpdateSquared = 0.1
                entry.sumBaseSquared = 1e30
                entry.sumRatio = .leastNonzeroMagnitude
                entry.sumUpdateNorm = 2
                entry.ratioHistogram[7] = 10
                entry.innerSums = [1, 0.5, 0.5, 1.0 / 7]
                entry.activeInnerSums = [0.5, 0.25, 0.25, 1.0 / 9]
                return entry
            })
    }

    static func gated() throws -> AdapterDirectory {
        try AdapterDirectory(
            configuration: try configuration(gated: true), modules: modules.map(\.path), tensors: tensors(),
            thresholds: [modules[0].path: 0.125, modules[1].path: -0.1], statistics: statistics(),
            origin: AdapterOrigin(
                training: .object(["seed": .integer(3)]), history: [.object(["event": .string("tested")])]))
    }

    static func dense() throws -> AdapterDirectory {
        try AdapterDirectory(
            configuration: try configuration(gated: false), modules: modules.map(\.path), tensors: tensors())
    }
}

@Suite struct AdapterDirectoryTests {
    /// What is expected must be something that can be: extents that only the base tells are named.
    @Test func tensorOfTooFewAxesIsToldWhichItNeeds() throws {
        let settings = IA3Settings(feedforward: .names(["down_proj"]))
        for (module, expected) in [
            ("mlp.down_proj", "[1, the weight's columns]"), ("self_attn.k_proj", "[the weight's rows, 1]"),
        ] {
            let path = "model.layers.0." + module
            let error = #expect(throws: AdapterError.self) {
                try AdapterDirectory(
                    configuration: AdapterConfiguration(
                        settings, isGated: false, targets: .names(["down_proj", "k_proj"])),
                    modules: [path],
                    tensors: [
                        AdapterTensor(PEFTNames.key(path, PEFTNames.ia3L), [16], [Float](repeating: 1, count: 16))
                    ])
            }
            #expect(
                error?.description.contains("has shape [16], expected \(expected)") == true,
                "\(String(describing: error))")
        }
    }

    @Test func peftsDirectoryIsRead() throws {
        let adapter = try AdapterDirectory.read(fixture("golden/llama-lora/adapter"))
        #expect(adapter.modules.count == 15)
        #expect(adapter.modules.first == "model.layers.0.mlp.down_proj")
        #expect(adapter.tensors.count == 30)
        #expect(adapter.tensor("model.layers.2.self_attn.v_proj", PEFTNames.loraB)?.shape == [32, 4])
        #expect(adapter.base == nil)
        #expect(adapter.statistics == nil)
    }

    @Test func gatedAdapterComesBackAsItWas() throws {
        try withTemporaryFolder { folder in
            let original = try SampleAdapter.gated()
            try original.write(to: folder + "/out")
            let read = try AdapterDirectory.read(folder + "/out")
            #expect(read.configuration.json["peft_type"] == .string("TS_LORA"))
            #expect(read.modules == original.modules)
            #expect(read.tensors.map(\.name) == original.tensors.map(\.name))
            #expect(read.tensors.map(\.shape) == original.tensors.map(\.shape))
            #expect(read.tensors.map(\.values) == original.tensors.map(\.values))
            #expect(read.thresholds == original.thresholds)
            #expect(read.statistics == original.statistics)
            #expect(read.training == original.training)
            #expect(read.history == original.history)
            let file = try SafetensorsFile.open(folder + "/out/adapter_model.safetensors")
            let tau = try #require(file.record("base_model.model.model.layers.2.self_attn.q_proj.tau"))
            #expect(tau.shape == [1])
            #expect(tau.encoding == .plain(.f32))
        }
    }

    @Test func denseAdapterIsAPlainPeftDirectory() throws {
        try withTemporaryFolder { folder in
            try SampleAdapter.dense().write(to: folder + "/out")
            let read = try AdapterDirectory.read(folder + "/out")
            #expect(read.configuration.json["peft_type"] == .string("LORA"))
            #expect(read.thresholds.isEmpty)
            let file = try SafetensorsFile.open(folder + "/out/adapter_model.safetensors")
            #expect(file.tensors.count == 4)
            let card = String(decoding: try readSmallFile(folder + "/out/README.md", limit: 1 << 20), as: UTF8.self)
            #expect(card.hasPrefix("---\nbase_model: \"some/base\"\nlibrary_name: peft\n"))
        }
    }

    @Test func modelCardTellsMethodSparsityAndUse() throws {
        let card = ModelCard.text(of: try SampleAdapter.gated())
        #expect(card.contains("library_name: tspeft"))
        #expect(card.contains("| sparsity | mean 55.0 % (50.0 % to 60.0 %) over 10 tokens of dev.json, 2 records |"))
        #expect(card.contains("\nsome/base, and this directory") && card.contains("\n    tspeft help merge"))
        #expect(card.contains("| seed | 3 |"))
    }

    @Test func existingOutputStaysUnlessReplacingIsAllowed() throws {
        try withTemporaryFolder { folder in
            try SampleAdapter.gated().write(to: folder + "/out")
            #expect(throws: CheckpointError.self) { try SampleAdapter.dense().write(to: folder + "/out") }
            #expect(try AdapterDirectory.read(folder + "/out").configuration.isGated)
            try SampleAdapter.dense().write(to: folder + "/out", replacing: true)
            #expect(try !AdapterDirectory.read(folder + "/out").configuration.isGated)
            #expect(directoryEntries(folder) == ["out"])
        }
    }

    @Test func failureWhileAddingFilesLeavesNothing() throws {
        struct Failure: Error {}
        try withTemporaryFolder { folder in
            #expect(throws: Failure.self) {
                try SampleAdapter.dense().write(to: folder + "/out") { _ in throw Failure() }
            }
            #expect(directoryEntries(folder).isEmpty)
        }
    }

    @Test func halfPrecisionTensorsAreReadAsFloats() throws {
        try withTemporaryFolder { folder in
            let values: [Float] = [1, -2.5, 0.15625, 3, 0, 1, 2, 4]
            let directory = try AtomicDirectory(folder + "/out")
            try directory.write(
                PEFTNames.configurationFile, text: try SampleAdapter.configuration(gated: false).jsonText)
            let entries = [(PEFTNames.loraA, [2, 4]), (PEFTNames.loraB, [4, 2])].map {
                SafetensorsEntry(name: PEFTNames.key("m.q_proj", $0.0), dtype: .bf16, shape: $0.1)
            }
            let writer = try SafetensorsWriter(try directory.writer(PEFTNames.tensorFile), entries: entries)
            for _ in entries {
                try values.map { BFloat16($0).bitPattern }.withUnsafeBytes { try writer.append($0) }
            }
            try writer.finish()
            try directory.commit()
            let adapter = try AdapterDirectory.read(folder + "/out")
            #expect(adapter.tensor("m.q_proj", PEFTNames.loraA)?.values == values)
        }
    }

    @Test func modulesOfAPeftDirectoryComeInOrderOfTheirNumbers() throws {
        try withTemporaryFolder { folder in
            try SampleAdapter.dense().write(to: folder + "/out")
            #expect(remove(folder + "/out", PEFTNames.recordFile))
            #expect(try AdapterDirectory.read(folder + "/out").modules == SampleAdapter.modules.map(\.path))
        }
    }

    @Test func wrongTensorsAreRefusedByName() throws {
        let configuration = try SampleAdapter.configuration(gated: false)
        let paths = SampleAdapter.modules.map(\.path)
        func problem(
            _ other: AdapterConfiguration? = nil, thresholds: NameTable<Float> = [:],
            _ change: (inout [AdapterTensor]) -> Void = { _ in }
        ) throws -> String {
            var tensors = SampleAdapter.tensors()
            change(&tensors)
            let error = #expect(throws: AdapterError.self) {
                try AdapterDirectory(
                    configuration: other ?? configuration, modules: paths,
                    tensors: tensors, thresholds: thresholds,
                    origin: AdapterOrigin(file: "f"))
            }
            #expect(error?.exitStatus == .badData)
            return error?.description ?? ""
        }
        let name = PEFTNames.key(paths[0], PEFTNames.loraB)
        #expect(try problem { $0.remove(at: 1) } == "f: tensor '\(name)' is missing")
        #expect(
            try problem { $0[1] = AdapterTensor(name: name, shape: [2, 3], values: $0[1].values) }
                == "f: tensor '\(name)' has shape [2, 3], expected [2, 2]")
        #expect(try problem { $0[1].values[5] = .nan }.hasSuffix("holds a NaN or infinity at element 5"))
        #expect(
            try problem { $0.append(AdapterTensor("base_model.model.x.lora_A.weight", [0], [])) }
                .contains("'base_model.model.x.lora_A.weight' belongs to none"))
        #expect(try problem(try SampleAdapter.configuration(gated: false, rank: 3)).contains("expected [3, 4]"))
        #expect(try problem(try SampleAdapter.configuration(gated: true)).contains("q_proj.tau' is missing"))
        #expect(try problem(thresholds: [paths[0]: 1]).contains("dense"))
        #expect(
            try problem(try SampleAdapter.configuration(gated: true), thresholds: [paths[0]: 1, paths[1]: .nan])
                .contains("up_proj.tau' holds a NaN"))
    }

    /// Beyond a rank of 128 sums are written in F32; up to it in F64, every bit.
    @Test(arguments: [128, 129]) func innerSumsOfLargeRanksComeBack(_ rank: Int) throws {
        let path = "model.layers.0.self_attn.q_proj"
        let sums = randomValues(rank * rank, seed: 3).map { Double($0) / 3 }
        var entry = ModuleStatistics(module: path, rank: rank)
        (entry.tokens, entry.active, entry.innerSums, entry.activeInnerSums) = (9, 9, sums, sums.map { $0 / 2 })
        let adapter = try AdapterDirectory(
            configuration: try SampleAdapter.configuration(gated: true, rank: rank), modules: [path],
            tensors: [
                AdapterTensor(PEFTNames.key(path, PEFTNames.loraA), [rank, 1], randomValues(rank, seed: 1)),
                AdapterTensor(PEFTNames.key(path, PEFTNames.loraB), [1, rank], randomValues(rank, seed: 2)),
            ], thresholds: [path: 0], statistics: AdapterStatistics(source: "s", modules: [entry]))
        try withTemporaryFolder { folder in
            try adapter.write(to: folder + "/adapter")
            let read = try #require(try AdapterDirectory.read(folder + "/adapter").statistics?[path])
            #expect(read.innerSums == (rank > 128 ? sums.map { Double(Float($0)) } : sums))
            #expect(read.activeInnerSums?.count == rank * rank)
        }
    }

    @Test func innerSumsOfAnotherRankAreRefused() throws {
        let adapter = try SampleAdapter.gated()
        var entry = try #require(adapter.statistics?.modules[0])
        entry.activeInnerSums = [1]
        #expect(throws: AdapterError.self) {
            try AdapterDirectory(
                configuration: adapter.configuration, modules: adapter.modules, tensors: adapter.tensors,
                thresholds: adapter.thresholds, statistics: AdapterStatistics(source: "s", modules: [entry]))
        }
    }

    @Test func strangeKeyInAFileIsRefused() throws {
        try withTemporaryFolder { folder in
            try SampleAdapter.dense().write(to: folder + "/out")
            #expect(remove(folder + "/out", PEFTNames.tensorFile))
            try SafetensorsWriter.write(
                [(name: "base_model.model.m.q_proj.lora_magnitude_vector", shape: [1], values: [1])],
                to: folder + "/out/" + PEFTNames.tensorFile)
            let error = #expect(throws: AdapterError.self) { try AdapterDirectory.read(folder + "/out") }
            #expect(error?.description.contains("lora_magnitude_vector") == true)
        }
    }

    @Test func missingPartsAreNamed() throws {
        try withTemporaryFolder { folder in
            #expect(throws: CheckpointError.missing(path: folder + "/none")) {
                try AdapterDirectory.read(folder + "/none")
            }
            let noConfiguration = #expect(throws: AdapterError.self) { try AdapterDirectory.read(folder) }
            #expect(noConfiguration?.exitStatus == .missingInput)
            try SampleAdapter.gated().write(to: folder + "/out")
            #expect(remove(folder + "/out", PEFTNames.statisticsFile))
            let noSums = #expect(throws: AdapterError.self) { try AdapterDirectory.read(folder + "/out") }
            #expect(noSums?.description.contains(PEFTNames.statisticsFile) == true)
            #expect(remove(folder + "/out", PEFTNames.tensorFile))
            let noTensors = #expect(throws: AdapterError.self) { try AdapterDirectory.read(folder + "/out") }
            #expect(noTensors?.description.contains(PEFTNames.tensorFile) == true)
        }
    }

    @Test func basesModulesCheckShapesAndGiveTheOrder() throws {
        let adapter = try SampleAdapter.gated()
        let reversed = try adapter.validated(against: SampleAdapter.modules.reversed())
        #expect(reversed.modules == SampleAdapter.modules.map(\.path).reversed())
        #expect(reversed.thresholds == adapter.thresholds)
        #expect(reversed.statistics?.modules.map(\.module) == reversed.modules)
        var other = SampleAdapter.modules
        other[1] = LinearModule(path: other[1].path, outputSize: 5, inputSize: 7)
        let wide = #expect(throws: AdapterError.self) { try adapter.validated(against: other) }
        #expect(wide?.description.contains("the base needs [2, 7]") == true)
        let absent = #expect(throws: AdapterError.self) {
            try adapter.validated(against: [SampleAdapter.modules[0]])
        }
        #expect(absent?.description.contains("model.layers.10.mlp.up_proj") == true)
    }

    private func remove(_ folder: String, _ name: String) -> Bool { removeFile(folder + "/" + name) }
}
