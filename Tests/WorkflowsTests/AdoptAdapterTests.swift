import Adapters
import CheckpointIO
import Foundation
import TestSupport
import Testing
import Training

@testable import TSPEFT

/// `inject --from-peft`: an adapter of ours from one that peft wrote.
@Suite struct AdoptAdapterTests {
    private static let base = fixture("peft/model")

    private func adopt(
        _ name: String, to output: String, _ change: (inout InjectRequest) -> Void = { _ in }
    ) throws -> AdapterDirectory {
        var request = InjectRequest(basePath: Self.base, outputPath: output)
        request.adapterPath = fixture("peft/" + name)
        change(&request)
        _ = try injectAdapter(request)
        return try AdapterDirectory.read(output)
    }

    @Test(arguments: [
        ("lora", "ts-lora"), ("dora", "ts-dora"), ("adalora", "ts-adalora"), ("vera", "ts-vera"),
        ("bottleneck-biases", "ts-adapter"), ("patterns", "ts-lora"), ("saved-modules", "ts-lora"),
        ("lora-bias", "ts-lora"),
    ])
    func gatedFormHasTheTensorsAndOpenGates(_ name: String, _ method: String) throws {
        let read = try AdapterDirectory.read(fixture("peft/" + name))
        try withTemporaryFolder { folder in
            let dense = try adopt(name, to: folder + "/dense")
            let gated = try adopt(name, to: folder + "/gated") { $0.method = method }
            for (adapter, isGated) in [(dense, false), (gated, true)] {
                #expect(adapter.configuration.isGated == isGated && adapter.base != nil)
                #expect(Set(adapter.modules) == Set(read.modules))
                let values = Dictionary(uniqueKeysWithValues: adapter.allTensors.map { ($0.name, $0) })
                #expect(values.count == read.allTensors.count)
                for tensor in read.allTensors {
                    #expect(values[tensor.name]?.shape == tensor.shape && values[tensor.name]?.values == tensor.values)
                }
                for module in read.modules {
                    #expect(adapter.configuration.rank(for: module) == read.configuration.rank(for: module))
                    #expect(adapter.configuration.scaling(for: module) == read.configuration.scaling(for: module))
                    #expect(adapter.threshold(module) == (isGated ? 0 : nil))
                }
            }
            #expect(gated.configuration.methodName == method)
        }
    }

    private func expectConflict(
        naming text: String, _ name: String = "lora", _ change: @escaping (inout InjectRequest) -> Void
    ) throws {
        try withTemporaryFolder { folder in
            let error = #expect(throws: WorkflowError.self) { _ = try adopt(name, to: folder + "/out", change) }
            #expect(error?.exitStatus == .usage)
            #expect(error?.description.contains(text) == true, "\(error?.description ?? "")")
            #expect(!pathExists(folder + "/out"))
        }
    }

    @Test func anotherKindIsRefused() throws {
        try expectConflict(naming: "ts-lora, not ts-dora") { $0.method = "ts-dora" }
        try expectConflict(naming: "ts-dora, not lora", "dora") { $0.method = "lora" }
    }

    @Test func optionsThatTheDirectoryAnswersAreRefusedByName() throws {
        try expectConflict(naming: "so rank") { $0.options["rank"] = .integer(3) }
        try expectConflict(naming: "so alpha") { $0.options["alpha"] = .real(6.0) }
        try expectConflict(naming: "so dropout") { $0.options["dropout"] = .real(0.0) }
        try expectConflict(naming: "so targets") { $0.targets = "q_proj" }
        try expectConflict(naming: "so excluded") { $0.excluded = "q_proj" }
        try expectConflict(naming: "so layers") { $0.layers = [0] }
        try expectConflict(naming: "so preset") { $0.preset = .csr }
        try expectConflict(naming: "so modulesToSave") { $0.modulesToSave = ["lm_head"] }
    }

    @Test func gatedAdapterIsRefused() throws {
        try withTemporaryFolder { folder in
            _ = try adopt("lora", to: folder + "/gated") { $0.method = "ts-lora" }
            try expectConflict(naming: "already") { $0.adapterPath = folder + "/gated" }
        }
    }

    @Test func adapterOfAnotherBaseIsRefused() throws {
        try withTemporaryFolder { folder in
            let error = #expect(throws: AdapterError.self) {
                _ = try adopt("lora", to: folder + "/out") { $0.basePath = fixture("tiny-llama") }
            }
            #expect(error?.exitStatus == .badData)
        }
    }

    /// The command line of the whole path: an adapter of peft's for the tiny model, gates on it, tau alone trained.
    @Test func thresholdsAloneAreTrainedAndTheAdapterStaysBitForBit() throws {
        try withTemporaryFolder { folder in
            let tiny = try TinyTraining(folder)
            for kind in AdapterKind.allCases {
                try trainThresholds(of: kind, tiny)
            }
        }
    }

    private func trainThresholds(of kind: AdapterKind, _ tiny: TinyTraining) throws {
        let dense = tiny.folder + "/dense-\(kind.name)"
        var request = InjectRequest(basePath: TinyTraining.base, outputPath: dense)
        request.method = kind.name
        if kind.settings.options.contains(where: { $0.key == "rank" }) { request.options["rank"] = .integer(3) }
        request.targets = "q_proj,down_proj"
        if kind == .adalora { request.options["tfinal"] = .integer(1) }
        _ = try injectAdapter(request)
        let name = "\(kind.name)-trained"
        let first = try tiny.train(
            tiny.request(name) {
                $0.adapterPath = dense
                $0.training.length = .steps(3)
                $0.training.learningRate = 1e-2
            })
        #expect(first.error == nil)
        var adoption = InjectRequest(basePath: TinyTraining.base, outputPath: dense + "-gated")
        adoption.adapterPath = tiny.folder + "/" + name
        adoption.method = kind.methodName(gated: true)
        _ = try injectAdapter(adoption)

        func taus(_ name: String, stopAfter stop: Int? = nil, resuming: Bool = false) throws -> [Int] {
            let run = try tiny.train(
                tiny.request(name) {
                    $0.adapterPath = dense + "-gated"
                    $0.training.trainsThresholdsOnly = true
                    $0.training.length = .steps(6)
                    $0.resumes = resuming
                }, stopAfter: stop)
            #expect((run.error == nil) == (stop == nil), "\(kind): \(run.error.map { "\($0)" } ?? "no error")")
            return run.steps
        }
        let (whole, parts) = ("\(kind)-tau", "\(kind)-parts")
        #expect(try taus(whole).count == 6)
        #expect(try taus(parts, stopAfter: 3) == [1, 2, 3])
        #expect(try taus(parts, resuming: true) == [4, 5, 6])
        #expect(try tiny.result(whole) == tiny.result(parts), "a resumed run of \(kind)")

        let before = try AdapterDirectory.read(dense + "-gated")
        let after = try AdapterDirectory.read(tiny.folder + "/" + whole)
        for (old, new) in zip(before.allTensors, after.allTensors) {
            #expect(old.name == new.name && old.shape == new.shape)
            #expect(zip(old.values, new.values).allSatisfy { $0.bitPattern == $1.bitPattern }, "\(old.name)")
        }
        #expect(after.thresholds.values.contains { $0 != 0 }, "\(kind)")
        #expect(after.statistics != nil && after.training?["only"]?.stringValue == "tau")
    }

    @Test func denseAdapterHasNoThresholdsToTrain() throws {
        try withTemporaryFolder { folder in
            let tiny = try TinyTraining(folder)
            var request = InjectRequest(basePath: TinyTraining.base, outputPath: folder + "/dense")
            request.method = "lora"
            request.options["rank"] = .integer(2)
            _ = try injectAdapter(request)
            let run = try tiny.train(
                tiny.request("run") {
                    $0.adapterPath = folder + "/dense"
                    $0.training.trainsThresholdsOnly = true
                })
            let error = try #require(run.error as? TrainingError)
            #expect(error.exitStatus == .usage && error == .noThresholds(method: "lora"))
        }
    }
}
