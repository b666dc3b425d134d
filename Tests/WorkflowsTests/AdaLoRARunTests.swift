import Adapters
import CheckpointIO
import TestSupport
import Testing
import Training
import Transforms
import TSPEFT

/// A run of AdaLoRA whose ranks move: what is saved and taken up again, and what a module without ranks counts as.
@Suite struct AdaLoRARunTests {
    /// A new adapter of 12 ranks a module pair, of which few are left in the end.
    private func prepare(_ tiny: TinyTraining, gated: Bool) throws -> String {
        let path = tiny.folder + "/adalora"
        var request = InjectRequest(basePath: TinyTraining.base, outputPath: path)
        request.method = gated ? "ts-adalora" : "adalora"
        request.options["init_r"] = .integer(3)
        request.options["target_r"] = .integer(1)
        request.options["tinit"] = .integer(1)
        request.options["tfinal"] = .integer(2)
        request.options["deltaT"] = .integer(2)
        request.targets = "q_proj,v_proj,down_proj"
        _ = try injectAdapter(request)
        return path
    }

    @Test(arguments: [false, true]) func resumedRunEndsBitForBitWithItsRanks(_ isGated: Bool) throws {
        try withTemporaryFolder { folder in
            let tiny = try TinyTraining(folder)
            let adapter = try prepare(tiny, gated: isGated)
            func request(_ name: String, resuming: Bool = false) -> TrainRequest {
                tiny.request(name) {
                    $0.adapterPath = adapter
                    $0.training.length = .steps(8)
                    $0.resumes = resuming
                }
            }
            #expect(try tiny.train(request("whole")).error == nil)
            // In the middle of the moving ranks: between two choices, and right behind one.
            for stop in [4, 5] {
                let name = "parts-\(stop)"
                #expect(try tiny.train(request(name), stopAfter: stop).steps.count == stop)
                let rest = try tiny.train(request(name, resuming: true))
                #expect(rest.error == nil && rest.steps == Array(stop + 1...8))
                #expect(try tiny.result(name) == tiny.result("whole"))
                #expect(
                    try AdapterDirectory.read(folder + "/" + name).configuration
                        == AdapterDirectory.read(folder + "/whole").configuration)
            }
            let whole = try AdapterDirectory.read(folder + "/whole")
            let ranks = whole.modules.compactMap { whole.configuration.rank(for: $0) }
            #expect(ranks.reduce(0, +) == whole.modules.count && ranks.contains(0) && ranks.contains { $0 > 1 })
        }
    }

    /// The flags of kept ranks are of the first ranks, however often ranks were taken.
    @Test func trainedAdapterCanBeTrainedAgain() throws {
        try withTemporaryFolder { folder in
            let tiny = try TinyTraining(folder)
            let adapter = try prepare(tiny, gated: false)
            func train(_ from: String, _ to: String) throws -> AdapterConfiguration {
                let run = try tiny.train(
                    tiny.request(to) {
                        $0.adapterPath = from
                        $0.training.length = .steps(8)
                    })
                #expect(run.error == nil)
                return try AdapterDirectory.read(folder + "/" + to).configuration
            }
            let first = try train(adapter, "first").own(AdaLoRASettings.self).keptRanks
            let second = try train(folder + "/first", "second").own(AdaLoRASettings.self).keptRanks
            #expect(first.keys.sorted() == second.keys.sorted())
            for (module, flags) in second {
                #expect(flags.count == 3)
                #expect(zip(flags, first[module]!).allSatisfy { !$0 || $1 }, "a rank of \(module) came back")
            }
        }
    }

    /// A module that lost its ranks is pruned: "-" in the table, no part of means, never kept.
    @Test func moduleWithoutRanksCountsAsPruned() throws {
        try withTemporaryFolder { folder in
            let tiny = try TinyTraining(folder)
            let adapter = try prepare(tiny, gated: true)
            let run = try tiny.train(
                tiny.request("run") {
                    $0.adapterPath = adapter
                    $0.training.length = .steps(8)
                })
            #expect(run.error == nil)
            let tuned = try AdapterDirectory.read(folder + "/run")
            let empty = Set(tuned.modules.filter { tuned.configuration.rank(for: $0) == 0 })
            try #require(!empty.isEmpty)
            let statistics = try #require(tuned.statistics)

            let report = try rankModules(RankRequest(adapterPath: folder + "/run"))
            #expect(Set(report.ranking.entries.suffix(empty.count).map(\.module)) == empty)
            let cells = report.ranking.table.cells.flatMap { $0 }
            #expect(cells.count { $0 == nil } == empty.count)
            let others = statistics.modules.filter { !empty.contains($0.module) }.map(\.sparsity)
            let mean = others.reduce(0, +) / Double(others.count)
            #expect(abs(try #require(report.ranking.table.average) - mean) < 1e-12)
            #expect(abs(tuned.configuration.meanSparsity(statistics.modules) - mean) < 1e-12)

            var keepAll = RankRequest(adapterPath: folder + "/run")
            keepAll.keep = "100%"
            #expect(try rankModules(keepAll).selection.map { Set($0.modules).isDisjoint(with: empty) } == true)

            let card = String(decoding: try readFile(folder + "/run/README.md"), as: UTF8.self)
            #expect(card.contains("none left in \(empty.count) of \(tuned.modules.count) modules"))
            guard case .adapter(let inspection) = try inspectFiles(folder + "/run") else {
                Issue.record("the run has an adapter")
                return
            }
            #expect(inspection.adapter.methodFacts.contains { $0.value.contains("none left in \(empty.count)") })
        }
    }
}
