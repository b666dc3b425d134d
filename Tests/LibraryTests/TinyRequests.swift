import Foundation
import TSPEFT

/// The repository's fixtures.
let fixtures: String = {
    var parts = #filePath.split(separator: "/")
    parts.removeLast(3)
    return "/" + parts.joined(separator: "/") + "/Fixtures"
}()

/// Requests over a folder with ten records of SST-2, small enough for a debug build.
struct TinyRequests {
    var base = fixtures + "/tiny-llama"
    let folder: String

    var records: String { folder + "/records.json" }
    var adapter: String { folder + "/adapter" }
    var inject: InjectRequest {
        var request = InjectRequest(basePath: base, outputPath: adapter)
        request.options = ["rank": 2, "alpha": 4.0]
        request.targets = "q_proj,v_proj,down_proj"
        return request
    }

    /// Four steps into `name`, one thread in F32.
    func train(_ name: String) -> TrainRequest {
        var request = TrainRequest(
            basePath: base, adapterPath: adapter, dataPath: records, outputPath: folder + "/" + name)
        request.length = .steps(4)
        request.batchSize = 2
        request.learningRate = 2e-3
        (request.s, request.lambda) = (2e-3, 1e-4)
        request.endOfText = false
        request.compute = Self.compute
        return request
    }

    func evaluate(_ adapter: String?) -> EvaluateRequest {
        var request = EvaluateRequest(basePath: base, adapterPath: adapter, dataPath: records)
        request.endOfText = false
        request.compute = Self.compute
        return request
    }

    static let compute = ComputeOptions(precision: .f32, threadCount: 1)

    init(_ folder: String) throws {
        self.folder = folder
        let text = try String(contentsOfFile: fixtures + "/sst2/dev.json", encoding: .utf8)
        let lines = text.split(separator: "\n").prefix(10).joined(separator: "\n")
        try Data(lines.utf8).write(to: URL(fileURLWithPath: folder + "/records.json"))
    }
}

/// Runs `body` with requests over a folder that is removed afterwards.
func withTinyRequests<R>(_ body: (TinyRequests) throws -> R) throws -> R {
    let folder = NSTemporaryDirectory() + "/tspeft-library-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    return try body(TinyRequests(folder))
}

/// The error of a call; nil where it had none.
func failure<R>(_ body: () throws(TSPEFTError) -> R) -> TSPEFTError? {
    do {
        _ = try body()
        return nil
    } catch {
        return error
    }
}
