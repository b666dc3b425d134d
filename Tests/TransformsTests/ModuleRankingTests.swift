import Adapters
import CheckpointIO
import TensorCore
import TestSupport
import Testing

@testable import Models
@testable import Transforms

/// A gated rank-1 adapter over modules `model.layers.<i>.q_proj` (2 -> 2) with these numbers of active tokens of 100.
func gatedAdapter(active: [Int], statistics: Bool = true) throws -> AdapterDirectory {
    let modules = active.indices.map { "model.layers.\($0).q_proj" }
    let entries = zip(modules, active).map { module, active in
        var entry = ModuleStatistics(module: module, rank: 1)
        entry.tokens = 100
        entry.active = active
        return entry
    }
    return try AdapterDirectory(
        configuration: try AdapterConfiguration(
            LoRASettings(LowRankNumbers(rank: 1, alpha: 1, rankPattern: [.init("q_proj", 1)])), isGated: true,
            targets: .names(["q_proj"])),
        modules: modules,
        tensors: modules.enumerated().flatMap { index, module in
            [
                AdapterTensor(name: PEFTNames.key(module, PEFTNames.loraA), shape: [1, 2], values: [Float(index), 1]),
                AdapterTensor(name: PEFTNames.key(module, PEFTNames.loraB), shape: [2, 1], values: [1, Float(index)]),
            ]
        },
        thresholds: NameTable(uniqueKeysWithValues: modules.enumerated().map { ($1, Float($0) / 8) }),
        statistics: statistics ? AdapterStatistics(source: "dev.json", modules: entries) : nil,
        origin: AdapterOrigin(path: "tuned"))
}

@Suite struct ModuleRankingTests {
    @Test func modulesComeByRisingSparsityTiesInOrder() throws {
        let ranking = try ModuleRanking(try gatedAdapter(active: [10, 90, 10, 50]))
        #expect(ranking.entries.map(\.position) == [1, 3, 0, 2])
        #expect(ranking.entries[0].sparsity == 1 - 0.9)
        #expect(ranking.entries[0].tau == 0.125)
        #expect(ranking.entries[0].tokens == 100)
        #expect(ranking.source == "dev.json")
        #expect(ranking.table.layers == ["0", "1", "2", "3"])
    }

    @Test func denseAdapterCannotBeRanked() throws {
        let dense = try AdapterDirectory.read(fixture("golden/llama-lora/adapter"))
        let error = #expect(throws: TransformError.self) { try ModuleRanking(dense) }
        #expect(error?.exitStatus == .badData)
        #expect(error?.description.contains("ts-lora") == true)
    }

    @Test func adapterWithoutStatisticsSaysWhatToRun() throws {
        let error = #expect(throws: AdapterError.self) {
            try ModuleRanking(try gatedAdapter(active: [1, 2], statistics: false))
        }
        #expect(error?.description.contains("tspeft train") == true)
    }

    @Test(arguments: [
        ("50%", 5, 3), ("50%", 4, 2), ("10%", 5, 1), ("12.5%", 4, 1), ("100%", 7, 7), ("37.5%", 4, 2), ("3", 9, 3),
        ("0.5%", 100, 1), ("49.999%", 5, 2), ("30%", 5, 2),
    ])
    func sharesRoundHalvesUp(_ text: String, _ total: Int, _ kept: Int) throws {
        #expect(try KeepRule(text).count(of: total) == kept)
    }

    @Test(arguments: [
        "", "%", "0", "0%", "-1", "101%", "100.1%", "5.%", ".5%", "5e1%", "half", "50 %", "1.5", "+5%", "0.0000001%",
        "99999999999999999999%",
    ])
    func malformedRuleIsRefused(_ text: String) {
        let error = #expect(throws: TransformError.self) { try KeepRule(text) }
        #expect(error?.exitStatus == .usage)
    }

    @Test func ruleThatKeepsNoneOrMoreThanThereAreIsRefused() throws {
        #expect(throws: TransformError.self) { try KeepRule("1%").count(of: 10) }
        #expect(throws: TransformError.self) { try KeepRule("11").count(of: 10) }
    }

    @Test func selectionIsInCheckpointOrderWithTiesFromTheFront() throws {
        let ranking = try ModuleRanking(try gatedAdapter(active: [10, 10, 90, 10]))
        let selection = try ranking.selection(try KeepRule("50%"), adapter: "tuned")
        #expect(selection.modules == ["model.layers.0.q_proj", "model.layers.2.q_proj"])
        #expect(selection.keep == "50%")
        #expect(selection.consideredCount == 4)
    }

    /// Sparsity rises from module to module; the mean of r is largest in the middle, and equal in the last two.
    @Test func relativeNormPutsLargeUpdatesFirst() throws {
        let sparse = try gatedAdapter(active: [90, 80, 70, 60])
        let entries = try #require(sparse.statistics).modules.enumerated().map { index, entry in
            var entry = entry
            entry.sumRatio = [5, 40, 10, 10][index]
            return entry
        }
        var adapter = sparse
        adapter.statistics = AdapterStatistics(source: "dev.json", modules: entries)
        let ranking = try ModuleRanking(adapter, by: try RankingRules.named("relative-norm"))
        #expect(ranking.entries.map(\.position) == [1, 2, 3, 0])
        #expect(ranking.entries.map(\.score) == [0.4, 0.1, 0.1, 0.05])
        let selection = try ranking.selection(try KeepRule("2"), adapter: "tuned")
        #expect(selection.modules == ["model.layers.1.q_proj", "model.layers.2.q_proj"])
        #expect(selection.json["by"]?.stringValue == "relative-norm")
        #expect(try ModuleSelection(json: selection.json, file: "s") == selection)
        #expect(try ModuleRanking(adapter).selection(try KeepRule("2"), adapter: "tuned").json["by"] == nil)
        #expect(throws: TransformError.unknownRule("r", known: ["sparsity", "relative-norm"])) {
            try RankingRules.named("r")
        }
    }

    @Test func modulesOfRankZeroAreNeverKept() throws {
        func entry(_ position: Int, _ rank: Int) -> ModuleRanking.Entry {
            .init(
                module: "layers.\(position).q", tau: 0, sparsity: 0, tokens: 9, active: 9, rank: rank,
                position: position, score: 0)
        }
        let ranking = ModuleRanking(entries: [entry(0, 0), entry(1, 3), entry(2, 0), entry(3, 1)], source: "s")
        #expect(ranking.entries.map(\.position) == [1, 3, 0, 2])
        #expect(try ranking.selection(try KeepRule("100%"), adapter: "a").modules == ["layers.1.q", "layers.3.q"])
        #expect(ranking.table.cells == [[nil], [0], [nil], [0]])
    }
}

@Suite struct ModuleSelectionTests {
    @Test func fileComesBackAsItWas() throws {
        let selection = ModuleSelection(
            modules: ["a.b", "c"], source: "dev.json", keep: "50%", adapter: "tuned", consideredCount: 4)
        #expect(try ModuleSelection(json: selection.json, file: "f") == selection)
        try withTemporaryFolder { folder in
            try selection.write(to: folder + "/s.json")
            #expect(try ModuleSelection.read(folder + "/s.json") == selection)
            #expect(throws: CheckpointError.self) { try selection.write(to: folder + "/s.json") }
            try selection.write(to: folder + "/s.json", replacing: true)
        }
    }

    @Test(arguments: [
        "[]", "{}", #"{"modules":[]}"#, #"{"modules":[1]}"#, #"{"modules":["a","a"]}"#, #"{"modules":"a"}"#,
    ])
    func malformedFileIsRefused(_ text: String) throws {
        let json = try JSONValue.parse(text)
        #expect(throws: TransformError.self) { try ModuleSelection(json: json, file: "f") }
    }
}

@Suite struct AdapterPruningTests {
    @Test func prunedAdapterHasOnlyTheKeptModules() throws {
        let adapter = try gatedAdapter(active: [10, 90, 50])
        let kept = ["model.layers.1.q_proj", "model.layers.2.q_proj"]
        let pruned = try adapter.pruned(to: ModuleSelection(modules: kept.reversed(), keep: "2"))
        #expect(pruned.modules == kept)
        #expect(pruned.tensors.map(\.values) == [[1, 1], [1, 1], [2, 1], [1, 2]])
        #expect(pruned.thresholds == [kept[0]: 0.125, kept[1]: 0.25])
        #expect(pruned.statistics?.modules.map(\.active) == [90, 50])
        #expect(pruned.configuration.targets == .names(kept))
        #expect(pruned.configuration.settings as? LoRASettings == adapter.configuration.own(LoRASettings.self))
        #expect(pruned.history.last?["parent"] == .string("tuned"))
        #expect(pruned.history.last?["selection"]?["keep"] == .string("2"))
        let base = (0..<3).map { LinearModule(path: "model.layers.\($0).q_proj", outputSize: 2, inputSize: 2) }
        #expect(try pruned.configuration.match(base).modules.map(\.path) == kept)
    }

    @Test func unknownModuleIsRefused() throws {
        let adapter = try gatedAdapter(active: [10, 90, 50])
        let error = #expect(throws: AdapterError.self) {
            try adapter.pruned(to: ModuleSelection(modules: ["model.layers.7.q_proj"]))
        }
        #expect(error?.description.contains("model.layers.7.q_proj") == true)
    }
}
