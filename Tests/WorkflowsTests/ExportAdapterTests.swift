import Adapters
import CheckpointIO
import TestSupport
import Testing
import TSPEFT
import Transforms

@Suite struct ExportAdapterTests {
    /// Exports a new adapter of `method` to peft without naming its base.
    private func export(_ method: String, of base: String) throws -> ExportReport {
        try withTemporaryFolder { folder in
            var inject = InjectRequest(basePath: base, outputPath: folder + "/adapter")
            inject.method = method
            inject.targets = "k_proj,down_proj"
            _ = try injectAdapter(inject)
            var request = ExportRequest(
                adapterPath: folder + "/adapter", format: .peft, outputPath: folder + "/peft")
            if method.hasPrefix("ts-") {
                request.gates = .drop
                try addStatistics(folder + "/adapter")
            }
            return try exportAdapter(request)
        }
    }

    /// What training would leave: every gate was open for every token.
    private func addStatistics(_ path: String) throws {
        var adapter = try AdapterDirectory.read(path)
        let modules = adapter.modules.map { module in
            var entry = ModuleStatistics(module: module)
            (entry.tokens, entry.active) = (100, 100)
            (entry.sumUpdateSquared, entry.sumActiveUpdateSquared, entry.sumBaseSquared) = (20, 20, 1000)
            return entry
        }
        adapter.statistics = AdapterStatistics(source: "100 tokens", modules: modules)
        try adapter.write(to: OutputTarget(path, replacing: true))
    }

    /// Only the base tells whether a scaled layer has a bias, and the adapter names its base.
    @Test(arguments: ["ia3", "ts-ia3"]) func baseThatTheAdapterNamesIsAsked(method: String) throws {
        #expect(try export(method, of: fixture("tiny-llama")).writtenCount == 12)
    }

    @Test func gatedFormIsNotToldToBeGated() throws {
        let error = try #require(throws: TransformError.self) { try export("ts-ia3", of: fixture("tiny-qwen2")) }
        #expect(error.exitStatus == .unsupported)
        #expect(error.description.contains("k_proj: it scales the output of a layer with a bias"), "\(error)")
        #expect(error.description.contains("merge the adapter, or export it to torch"), "\(error)")
        #expect(!error.description.contains("gated form") && !error.description.contains("not given"), "\(error)")
    }

    @Test func denseFormIsRefusedWithTheGatedOneForARemedy() throws {
        let error = try #require(throws: AdapterError.self) { try export("ia3", of: fixture("tiny-qwen2")) }
        #expect(error.description.contains("or use ts-ia3"), "\(error)")
    }
}
