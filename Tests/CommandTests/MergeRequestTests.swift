import TestSupport
import Testing

@testable import TSPEFT
@testable import tspeft

@Suite struct MergeRequestTests {
    @Test func weightFollowsTheLastColonUnlessThereIsSuchAPath() throws {
        func read(_ text: String) throws -> MergeRequest.Adapter { try MergeRequest.Adapter(argument: text) }
        for (text, path, weight) in [
            ("a", "a", 1), ("a:0.5", "a", 0.5), ("a:-2", "a", -2), ("a:1e-3", "a", 1e-3), ("a:b:3", "a:b", 3),
            ("a:b", "a:b", 1), ("a:", "a:", 1), (":2", ":2", 1), ("a:1x", "a:1x", 1),
        ] {
            #expect(try read(text) == MergeRequest.Adapter(path, weight: weight), "\(text)")
        }
        for text in ["a:0", "a:-0.0", "a:nan", "a:inf", "a:1e999"] {
            let error = #expect(throws: WorkflowError.self) { try read(text) }
            #expect(error?.exitStatus == .usage)
            #expect(error?.description.contains(text) == true)
        }
        try withTemporaryFolder { folder in
            try writeFile(folder + "/run:3", "")
            #expect(try read(folder + "/run:3") == MergeRequest.Adapter(folder + "/run:3"))
            #expect(try read(folder + "/run:3:4") == MergeRequest.Adapter(folder + "/run:3", weight: 4))
        }
    }

    @Test func commandIsReadBackAsTheRequest() throws {
        let adapters = [
            MergeRequest.Adapter("a"), MergeRequest.Adapter("b", weight: 0.5), MergeRequest.Adapter("c:7"),
            MergeRequest.Adapter("d e", weight: -1),
        ]
        let request = MergeRequest(basePath: "base", adapters: adapters, outputPath: "out")
        #expect(
            request.command
                == "tspeft merge base --adapter a --adapter b:0.5 --adapter c:7:1.0 --adapter 'd e:-1.0' -o out")
        for adapter in adapters { #expect(try MergeRequest.Adapter(argument: adapter.argument) == adapter) }
    }
}
