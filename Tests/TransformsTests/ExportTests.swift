import Adapters
import CheckpointIO
import ModelTestSupport
import Models
import TensorCore
import TestSupport
import Testing

@testable import Transforms

/// The model that the adapters here belong to: three layers, four query and two key heads of 16.
private let basePath = fixture("golden/llama-lora/model")

private func base() throws -> ModelCheckpoint { try ModelCheckpoint.open(basePath) }

private let targets = TargetSpecification.names(["q_proj", "k_proj", "up_proj"])

private func settings(_ kind: AdapterKind) throws -> AdapterConfiguration {
    var adaLoRA = AdaLoRASettings()
    adaLoRA.targetRank = 2
    adaLoRA.totalSteps = 100
    adaLoRA.initialRank = 4
    adaLoRA.scale = 6
    return try AdapterConfiguration(
        kind == .adalora ? adaLoRA : kind.newSettings(rank: 4, alpha: 6, targets: targets), isGated: false,
        targets: targets)
}

/// A gated adapter with statistics: module i skips 10 (i % 10) % of its tokens and has c = 1 - (i % 10) / 20. Module 0
/// never skips, and module 1 never fires.
private func gatedAdapter(_ kind: AdapterKind) throws -> AdapterDirectory {
    let adapter = try randomAdapter(settings(kind), on: base(), tau: 0.1)
    return adapter.with(
        adapter.modules.enumerated().map { index, module in
            var entry = ModuleStatistics(module: module)
            entry.tokens = 100
            entry.active = index == 1 ? 0 : 100 - 10 * (index % 10)
            entry.sumUpdateSquared = 20
            entry.sumActiveUpdateSquared = index == 1 ? 0 : 20 - Double(index % 10)
            entry.sumBaseSquared = 1000
            return entry
        })
}

/// The update of a module's weight in double precision, [outputSize, inputSize], from A, B and the factor before them.
private func product(_ a: [Float], _ b: [Float], rank: Int, scale: Double) -> [Double] {
    let inputSize = a.count / rank
    var sum = [Double](repeating: 0, count: b.count / rank * inputSize)
    for row in 0..<b.count / rank {
        for inner in 0..<rank {
            let factor = scale * Double(b[row * rank + inner])
            for column in 0..<inputSize {
                sum[row * inputSize + column] += factor * Double(a[inner * inputSize + column])
            }
        }
    }
    return sum
}

/// The same from an adapter's own tensors, written out by method (peft's formulas).
private func update(of module: String, in adapter: AdapterDirectory, inputSize: Int) -> [Double] {
    let configuration = adapter.configuration
    let rank = configuration.rank(for: module) ?? 0
    switch configuration.kind {
    case .lora, .dora:
        let numbers = (configuration.settings as! any LowRankSettings).numbers
        let scale = numbers.alpha(for: module) / (numbers.usesRSLoRA ? Double(rank).squareRoot() : Double(rank))
        return product(
            adapter.values(module, PEFTNames.loraA), adapter.values(module, PEFTNames.loraB), rank: rank, scale: scale)
    case .adalora:
        let e = adapter.values(module, PEFTNames.adaLoRAE)
        var b = adapter.values(module, PEFTNames.adaLoRAB)
        for index in b.indices { b[index] *= e[index % rank] }
        return product(
            adapter.values(module, PEFTNames.adaLoRAA), b, rank: rank,
            scale: configuration.own(AdaLoRASettings.self).scale / (Double(configuration.rank ?? 0) + 1e-5))
    case .vera:
        let (d, b) = (adapter.values(module, PEFTNames.veraD), adapter.values(module, PEFTNames.veraB))
        let sharedA = adapter.shared(PEFTNames.sharedA)
        let a = (0..<rank).flatMap { row in
            (0..<inputSize).map { d[row] * sharedA.values[row * sharedA.shape[1] + $0] }
        }
        let outer = (0..<b.count * rank).map { b[$0 / rank] * adapter.shared(PEFTNames.sharedB).values[$0] }
        return product(a, outer, rank: rank, scale: 1)
    default: return []
    }
}

private func relativeError(_ found: [Double], _ expected: [Double]) -> Double {
    guard found.count == expected.count else { return .infinity }
    let largest = expected.map(abs).max() ?? 0
    let worst = zip(found, expected).map { abs($0 - $1) }.max() ?? 0
    return largest > 0 ? worst / largest : worst
}

/// Float32 products of a few factors against the same in double precision.
private let roundingTolerance = 1e-6

private func inputSize(of module: String) throws -> Int { try base().shape(of: module + ".weight")![1] }

// MARK: peft

@Test(arguments: [AdapterKind.lora, .dora, .adalora, .vera])
func denseAdapterIsExportedToPEFTTensorForTensor(_ kind: AdapterKind) throws {
    try withTemporaryFolder { folder in
        let adapter = try randomAdapter(settings(kind), on: base())
        let report = try AdapterExport(adapter, to: .peft).write(to: folder + "/peft")
        #expect(report.writtenCount == 9 && report.notes.isEmpty && report.gates == nil)
        let read = try AdapterDirectory.read(folder + "/peft")
        #expect(read.configuration.jsonText == adapter.configuration.jsonText)
        #expect(read.modules == adapter.modules)
        for (one, other) in zip(read.tensors + read.sharedTensors, adapter.tensors + adapter.sharedTensors) {
            #expect(one.name == other.name && one.shape == other.shape && one.values == other.values)
        }
    }
}

@Test(arguments: [AdapterKind.lora, .adalora, .vera], MergeGates.allCases)
func gateFactorsGoIntoWhatPEFTLoads(_ kind: AdapterKind, _ gates: MergeGates) throws {
    try withTemporaryFolder { folder in
        let adapter = try gatedAdapter(kind)
        let report = try AdapterExport(adapter, to: .peft, gates: gates, base: base()).write(to: folder + "/peft")
        #expect(report.writtenCount == 8 && report.gates == gates && report.source == "dev.json")
        #expect(report.modules[1].omission == "the gate never opens")
        #expect(abs((report.modules[3].replacement?.sparsity ?? 0) - 0.3) < 1e-12)
        let read = try AdapterDirectory.read(folder + "/peft")
        #expect(!read.configuration.isGated && read.thresholds.isEmpty && read.statistics == nil)
        let kept = adapter.modules.filter { $0 != adapter.modules[1] }
        #expect(read.modules == kept)
        #expect(read.configuration.targets == .names(kept), "a module that is left out must not be wrapped")
        for (index, module) in adapter.modules.enumerated() where index != 1 {
            let size = try inputSize(of: module)
            let factor = gates == .drop ? 1 : 1 - Double(index % 10) / 20
            let wanted = update(of: module, in: adapter, inputSize: size).map { $0 * factor }
            #expect(relativeError(update(of: module, in: read, inputSize: size), wanted) < roundingTolerance)
            let error = try #require(report.modules[index].replacement?.expectedError)
            #expect(abs(error - adapter.statistics![module]!.replacementError(factor: factor)) < 1e-12)
        }
    }
}

@Test(arguments: [AdapterKind.adalora, .vera])
func foldedLoRAHasTheSameUpdate(_ kind: AdapterKind) throws {
    try withTemporaryFolder { folder in
        var configuration = try settings(kind)
        let paths = try configuration.match(base().linearModules).modules.map(\.path)
        if kind == .adalora {
            var own = configuration.own(AdaLoRASettings.self)
            own.keptRanks = [paths[0]: [true, false, true, false], paths[2]: [false, false, false, false]]
            configuration = configuration.with(own)
        }
        let adapter = try randomAdapter(configuration, on: base())
        let export = try AdapterExport(adapter, to: .peft, base: base(), asLoRA: true)
        let report = try export.write(to: folder + "/peft")
        #expect(report.notes == ["\(kind.name) folded exactly into LoRA"])
        let read = try AdapterDirectory.read(folder + "/peft")
        #expect(read.configuration.kind == .lora)
        #expect(read.modules == paths.filter { kind == .vera || $0 != paths[2] })
        if kind == .adalora { #expect(read.configuration.rank(for: paths[0]) == 2) }
        for module in read.modules {
            let size = try inputSize(of: module)
            let wanted = update(of: module, in: adapter, inputSize: size)
            #expect(relativeError(update(of: module, in: read, inputSize: size), wanted) < roundingTolerance)
        }
    }
}

@Test func untrainedAdaLoRAGetsTheStepsThatPEFTDemands() throws {
    try withTemporaryFolder { folder in
        let configuration = try settings(.adalora)
        var own = configuration.own(AdaLoRASettings.self)
        own.totalSteps = nil
        own.initialSteps = 7
        let adapter = try randomAdapter(configuration.with(own), on: base())
        _ = try AdapterExport(adapter, to: .peft).write(to: folder + "/peft")
        let read = try AdapterDirectory.read(folder + "/peft").configuration
        #expect(read.own(AdaLoRASettings.self).totalSteps == 8)
    }
}

@Test func layersTrainedWholeTravelToPEFTAndTorchOnly() throws {
    try withTemporaryFolder { folder in
        let configuration = try AdapterConfiguration(
            LoRASettings(rank: 2, alpha: 2), isGated: false, targets: targets, modulesToSave: ["lm_head"])
        let head = AdapterTensor("base_model.model.lm_head.weight", [160, 64], randomValues(160 * 64, seed: 3))
        let adapter = try randomAdapter(configuration, on: base(), saved: [head])
        for format in [ExportFormat.peft, .torch] {
            _ = try AdapterExport(adapter, to: format).write(to: folder + "/" + format.rawValue)
            let read = try AdapterDirectory.read(folder + "/" + format.rawValue)
            #expect(read.savedModules.map(\.name) == [head.name] && read.savedModules[0].values == head.values)
            #expect(read.configuration.modulesToSave == ["lm_head"])
        }
        let torch = try settingsOfTorch(folder + "/torch")
        #expect(torch["saved_tensors"]?.arrayValue?.compactMap(\.stringValue) == ["lm_head.weight"])
        for format in [ExportFormat.mlx, .ggufLoRA] {
            let error = try #require(throws: TransformError.self) {
                try AdapterExport(adapter, to: format, base: base())
            }
            #expect(error.exitStatus == .unsupported && error.description.contains("lm_head"))
        }
    }
}

// MARK: Refusals

@Test(arguments: [ExportFormat.peft, .mlx, .ggufLoRA])
func gatedAdapterNeedsAWordOnItsGates(_ format: ExportFormat) throws {
    let adapter = try gatedAdapter(.lora)
    let error = try #require(throws: TransformError.self) { try AdapterExport(adapter, to: format, base: base()) }
    #expect(error.exitStatus == .unsupported)
    for words in ["gates: scale", "gates: drop", "torch", format.rawValue, "ts-lora"] {
        #expect(error.description.contains(words), "\(error)")
    }
    let bare = try randomAdapter(settings(.lora), on: base(), tau: 0.1)
    #expect(throws: AdapterError.self) { try AdapterExport(bare, to: format, gates: .scale, base: base()) }
}

@Test func scaledDoRAIsRefusedUnlessEveryGateIsOpenOrShut() throws {
    let adapter = try gatedAdapter(.dora)
    for format in [ExportFormat.peft, .mlx] {
        let error = try #require(throws: TransformError.self) {
            try AdapterExport(adapter, to: format, gates: .scale, base: base())
        }
        #expect(error.exitStatus == .unsupported && error.description.contains(adapter.modules[2]), "\(error)")
        _ = try AdapterExport(adapter, to: format, gates: .drop, base: base())
    }
    try withTemporaryFolder { folder in
        let open = try adapter.restricted(
            to: Array(adapter.modules[..<2]), configuration: adapter.configuration)
        _ = try AdapterExport(open, to: .peft, gates: .scale).write(to: folder + "/peft")
        let read = try AdapterDirectory.read(folder + "/peft")
        #expect(read.modules == [adapter.modules[0]] && read.configuration.kind == .dora)
        #expect(
            read.values(adapter.modules[0], PEFTNames.magnitude)
                == adapter.values(adapter.modules[0], PEFTNames.magnitude))
    }
}

@Test func whatAFormatCannotHoldIsRefusedWithTheReason() throws {
    let biased = try AdapterConfiguration(
        LoRASettings(LowRankNumbers(rank: 2, alpha: 2), hasBias: true), isGated: false, targets: targets)
    let cases: [(AdapterConfiguration, ExportFormat, asLoRA: Bool, words: String)] = [
        (try settings(.adapter), .peft, false, "not linear"), (try settings(.adapter), .mlx, false, "not linear"),
        (try settings(.adapter), .ggufLoRA, false, "not linear"), (try settings(.dora), .ggufLoRA, false, "DoRA"),
        (try settings(.ia3), .ggufLoRA, false, "merge the adapter"),
        (try settings(.ia3), .mlx, false, "merge the adapter"),
        (try settings(.ia3), .peft, true, "leave out"),
        (try settings(.dora), .peft, true, "DoRA"), (biased, .mlx, false, "lora_bias"),
        (biased, .ggufLoRA, false, "lora_bias"),
    ]
    for (configuration, format, asLoRA, words) in cases {
        let adapter = try randomAdapter(configuration, on: base())
        let error = try #require(throws: TransformError.self) {
            try AdapterExport(adapter, to: format, base: base(), asLoRA: asLoRA)
        }
        #expect(error.exitStatus == .unsupported && error.description.contains(words), "\(error)")
    }
}

@Test func adapterWhoseGatesAreAllShutIsNotExported() throws {
    let adapter = try gatedAdapter(.lora)
    let shut = try adapter.restricted(to: [adapter.modules[1]], configuration: adapter.configuration)
    let error = try #require(throws: TransformError.self) { try AdapterExport(shut, to: .peft, gates: .drop) }
    #expect(error.description.contains("no module's gate ever opens"))
}

@Test func adapterOfAnotherModelIsNotExported() throws {
    let adapter = try randomAdapter(settings(.lora), on: base())
    let other = try ModelCheckpoint.open(fixture("tiny-llama"))
    #expect(throws: AdapterError.self) { try AdapterExport(adapter, to: .mlx, base: other) }
}

// MARK: mlx-lm

@Test func mlxFilesHoldTransposedFactorsAndTheScale() throws {
    try withTemporaryFolder { folder in
        let adapter = try randomAdapter(settings(.dora), on: base())
        let report = try AdapterExport(adapter, to: .mlx, base: base()).write(to: folder + "/mlx")
        #expect(report.notes.isEmpty)
        let file = try SafetensorsFile.open(folder + "/mlx/adapters.safetensors")
        #expect(file.tensors.count == 27)
        for module in adapter.modules {
            let (a, b) = (adapter.tensor(module, PEFTNames.loraA)!, adapter.tensor(module, PEFTNames.loraB)!)
            let (inputSize, outputSize) = (a.shape[1], b.shape[0])
            let loraA = try file.requiredRecord(module + ".lora_a")
            let loraB = try file.requiredRecord(module + ".lora_b")
            #expect(loraA.shape == [inputSize, 4] && loraB.shape == [4, outputSize])
            let (foundA, foundB) = (try file.floats(of: loraA), try file.floats(of: loraB))
            #expect((0..<inputSize * 4).allSatisfy { foundA[$0] == a.values[$0 % 4 * inputSize + $0 / 4] })
            #expect((0..<4 * outputSize).allSatisfy { foundB[$0] == b.values[$0 % outputSize * 4 + $0 / outputSize] })
            #expect(
                try file.floats(of: file.requiredRecord(module + ".m")) == adapter.values(module, PEFTNames.magnitude))
        }
        let json = try JSONValue.parse(readFile(folder + "/mlx/adapter_config.json"))
        #expect(json["fine_tune_type"]?.stringValue == "dora" && json["num_layers"]?.intValue == 3)
        let parameters = json["lora_parameters"]
        #expect(parameters?["rank"]?.intValue == 4 && parameters?["scale"]?.doubleValue == 1.5)
        #expect(
            parameters?["keys"]?.arrayValue?.compactMap(\.stringValue)
                == ["self_attn.q_proj", "self_attn.k_proj", "mlp.up_proj"])
    }
}

@Test func ranksAndScalesThatDifferAreFoldedForMLX() throws {
    try withTemporaryFolder { folder in
        let configuration = try AdapterConfiguration(
            LoRASettings(
                LowRankNumbers(
                    rank: 2, alpha: 6, usesRSLoRA: true, rankPattern: [.init("up_proj", 5)],
                    alphaPattern: [.init("q_proj", 3)])),
            isGated: false, targets: .names(["layers.1.self_attn.q_proj", "layers.2.mlp.up_proj"]))
        let adapter = try randomAdapter(configuration, on: base())
        let report = try AdapterExport(adapter, to: .mlx, base: base()).write(to: folder + "/mlx")
        #expect(
            report.notes.count == 2 && report.notes[0].contains("from 2 up padded") && report.notes[0].contains("to 5"))
        let json = try JSONValue.parse(readFile(folder + "/mlx/adapter_config.json"))
        #expect(json["num_layers"]?.intValue == 2 && json["fine_tune_type"]?.stringValue == "lora")
        #expect(json["lora_parameters"]?["scale"]?.doubleValue == 1)
        let file = try SafetensorsFile.open(folder + "/mlx/adapters.safetensors")
        for module in adapter.modules {
            let a = try file.floats(of: file.requiredRecord(module + ".lora_a"))
            let b = try file.floats(of: file.requiredRecord(module + ".lora_b"))
            let (inputSize, outputSize) = (a.count / 5, b.count / 5)
            let found = product(
                AdapterExport.transposed(a, rows: inputSize, columns: 5),
                AdapterExport.transposed(b, rows: 5, columns: outputSize), rank: 5, scale: 1)
            let wanted = update(of: module, in: adapter, inputSize: inputSize)
            #expect(relativeError(found, wanted) < roundingTolerance)
        }
    }
}

// MARK: GGUF

/// The row of `permute` in llama.cpp's converter: reshape [heads, 2, half, ...], swap axes 1 and 2.
private func permuted(_ values: [Float], heads: Int, width: Int) -> [Float] {
    let half = values.count / width / heads / 2
    var result: [Float] = []
    for head in 0..<heads {
        for pair in 0..<half {
            for part in 0..<2 {
                let row = (head * 2 + part) * half + pair
                result += values[row * width..<(row + 1) * width]
            }
        }
    }
    return result
}

@Test func ggufAdapterOfAPlainLoRAHoldsItsNumbersInGGUFOrder() throws {
    try withTemporaryFolder { folder in
        let adapter = try randomAdapter(settings(.lora), on: base())
        let path = folder + "/lora.gguf"
        let report = try AdapterExport(adapter, to: .ggufLoRA, base: base()).write(to: path)
        #expect(report.notes.isEmpty)
        let file = try Checkpoint.open(path)
        let metadata = try #require(file.metadata)
        #expect(metadata["general.type"]?.stringValue == "adapter")
        #expect(metadata["general.architecture"]?.stringValue == "llama")
        #expect(metadata["adapter.type"]?.stringValue == "lora")
        #expect(metadata["adapter.lora.alpha"]?.doubleValue == 6)
        #expect(file.tensors.count == 18)
        let names = ["q_proj": ("attn_q", 4), "k_proj": ("attn_k", 2), "up_proj": ("ffn_up", 0)]
        for module in adapter.modules {
            let parts = module.split(separator: ".").map(String.init)
            let (name, heads) = names[parts.last!]!
            let weight = "blk.\(parts[2]).\(name).weight"
            let (a, b) = (adapter.tensor(module, PEFTNames.loraA)!, adapter.tensor(module, PEFTNames.loraB)!)
            let loraA = try file.requiredRecord(weight + ".lora_a")
            let loraB = try file.requiredRecord(weight + ".lora_b")
            #expect(loraA.shape == a.shape && loraB.shape == b.shape)
            #expect(try file.floats(of: loraA) == a.values)
            let wanted = heads > 0 ? permuted(b.values, heads: heads, width: 4) : b.values
            #expect(try file.floats(of: loraB) == wanted)
        }
    }
}

@Test func ggufBaseGivesTheSameFileAsItsHuggingFaceTwin() throws {
    try withTemporaryFolder { folder in
        let twins = [fixture("tiny-llama"), fixture("tiny-llama-gguf/tiny-llama-q8_0.gguf")]
        let adapter = try randomAdapter(settings(.lora), on: ModelCheckpoint.open(twins[0]))
        let files = try twins.enumerated().map { index, path in
            let out = folder + "/\(index).gguf"
            _ = try AdapterExport(adapter, to: .ggufLoRA, base: ModelCheckpoint.open(path)).write(to: out)
            return try readFile(out)
        }
        #expect(files[0] == files[1])
    }
}

@Test(arguments: [AdapterKind.lora, .adalora, .vera])
func ggufAdapterFoldedByLlamaCppsRuleHasTheSameUpdate(_ kind: AdapterKind) throws {
    try withTemporaryFolder { folder in
        var configuration = try settings(kind)
        if kind == .lora {
            configuration = try AdapterConfiguration(
                LoRASettings(
                    LowRankNumbers(rank: 4, alpha: 6, usesRSLoRA: true, rankPattern: [.init("up_proj", 3)])),
                isGated: true, targets: targets)
        }
        configuration.targets = .names(["v_proj", "up_proj"])
        let adapter = try randomAdapter(configuration, on: base(), tau: 0.1)
        let full = adapter.with(
            adapter.modules.map { module in
                var entry = ModuleStatistics(module: module)
                (entry.tokens, entry.active) = (10, 5)
                (entry.sumUpdateSquared, entry.sumActiveUpdateSquared, entry.sumBaseSquared) = (4, 3, 100)
                return entry
            })
        let path = folder + "/lora.gguf"
        let report = try AdapterExport(full, to: .ggufLoRA, gates: .scale, base: base()).write(to: path)
        #expect(report.notes.last?.contains("scales folded into B") == true)
        let file = try Checkpoint.open(path)
        let alpha = try #require(file.metadata?["adapter.lora.alpha"]?.doubleValue)
        for module in adapter.modules {
            let weight = try #require(LlamaNames.gguf(of: module + ".weight"))
            let b = try file.requiredRecord(weight + ".lora_b")
            let found = product(
                try file.floats(of: file.requiredRecord(weight + ".lora_a")), try file.floats(of: b),
                rank: b.shape[1], scale: alpha / Double(b.shape[1]))
            let wanted = update(of: module, in: adapter, inputSize: try inputSize(of: module)).map { 0.75 * $0 }
            #expect(relativeError(found, wanted) < roundingTolerance)
        }
    }
}

// MARK: PyTorch

private func settingsOfTorch(_ folder: String) throws -> JSONValue {
    try JSONValue.parse(readFile(folder + "/tspeft_torch.json"))
}

@Test(arguments: AdapterKind.allCases)
func torchExportKeepsTheAdapterAndSaysEachModulesSettings(_ kind: AdapterKind) throws {
    try withTemporaryFolder { folder in
        let adapter = try gatedAdapter(kind)
        let path = folder + "/torch"
        let report = try AdapterExport(adapter, to: .torch).write(to: path)
        #expect(report.writtenCount == 9 && report.gates == nil)
        #expect(
            try names(in: path) == [
                "README.md", "adapter_config.json", "adapter_model.safetensors", "tspeft.json",
                "tspeft_statistics.safetensors",
                "tspeft_torch.json", "tspeft_torch.py",
            ])
        let read = try AdapterDirectory.read(path)
        #expect(read.configuration.jsonText == adapter.configuration.jsonText)
        #expect(read.thresholds == adapter.thresholds)
        let settings = try settingsOfTorch(path)
        #expect(settings["format"]?.intValue == 1)
        let entries = try #require(settings["modules"]?.arrayValue)
        #expect(entries.compactMap { $0["module"]?.stringValue } == adapter.modules)
        let stored = Set(try SafetensorsFile.open(path + "/adapter_model.safetensors").tensors.map(\.name))
        var used = Set(kind == .vera ? ["base_model.vera_A", "base_model.vera_B"] : [])
        for entry in entries {
            #expect(entry["update"]?.stringValue == kind.name)
            let module = try #require(entry["module"]?.stringValue)
            #expect(entry["scaling"]?.doubleValue == Double(adapter.configuration.scaling(for: module)))
            #expect((entry["non_linearity"]?.stringValue == "tanh") == (kind == .adapter))
            for tensor in entry["tensors"]?.arrayValue ?? [] {
                used.insert("base_model.model.\(module).\(try #require(tensor.stringValue))")
            }
        }
        #expect(used == stored, "every tensor has a use")
        #expect(
            String(decoding: try readFile(path + "/tspeft_torch.py"), as: UTF8.self).contains("\"\(kind.name)\":"))
    }
}

/// c times an IA3's update is the IA3 of 1 + c (l - 1), which peft can hold.
@Test func gateFactorOfIA3GoesIntoItsDistanceFromOne() throws {
    try withTemporaryFolder { folder in
        let adapter = try gatedAdapter(.ia3)
        #expect(throws: TransformError.self) { try AdapterExport(adapter, to: .peft, gates: .scale) }
        _ = try AdapterExport(adapter, to: .peft, gates: .scale, base: base()).write(to: folder + "/peft")
        let read = try AdapterDirectory.read(folder + "/peft")
        #expect(read.configuration.methodName == "ia3")
        for (index, module) in adapter.modules.enumerated() where index != 1 {
            let factor = 1 - Double(index % 10) / 20
            let wanted = adapter.values(module, PEFTNames.ia3L).map { Float(1 + factor * (Double($0) - 1)) }
            #expect(read.values(module, PEFTNames.ia3L) == wanted)
        }
    }
}
