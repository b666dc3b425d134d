import CheckpointIO
import Foundation
import TestSupport
import Testing
import Training

@testable import TSPEFT

/// TensorBoard's event files and the table of steps.
@Suite struct EventFileTests {
    private static let time = 1.75e9

    private func line(_ event: TrainingEvent) throws -> JSONObject { try #require(event.logLine) }

    private func evaluations() throws -> [JSONObject] {
        let details = { (loss: Double) -> JSONObject in ["perplexity": .real(4 * loss)] }
        return [
            try line(.partialEvaluation(data: "dev.json", step: 3, loss: 0.25, details: details(0.25))),
            try line(.evaluation(step: 3, loss: 0.5, details: details(0.5))),
            try line(.evaluation(step: 300, loss: 2, details: details(2))),
        ]
    }

    @Test func bytesAreThoseOfTensorBoardsWriter() throws {
        try withTemporaryFolder { folder in
            let file = RunRecordFile(EventFile(folder: folder + "/board", now: { Self.time }))
            try file.begin(after: nil)
            for event in try evaluations() { try file.add(event) }
            try file.add(line(.checkpoint(step: 3, path: "c")))
            #expect(
                try readFile(folder + "/board/" + EventFile.fileName) == readFile(fixture("tensorboard/events.bin")))
        }
    }

    /// A run that goes on from an older checkpoint drops what came behind it, and half a record of a killed program.
    @Test func fileGoesOnBehindTheStep() throws {
        let whole = try readFile(fixture("tensorboard/events.bin"))
        try withTemporaryFolder { folder in
            let path = folder + "/" + EventFile.fileName
            for (content, step, kept) in [
                (whole, 3, 3), (whole, 2, 1), (whole, 300, 4), (whole.dropLast(), 300, 3),
                ([], 3, 0),
            ] as [([UInt8], Int, Int)] {
                try writeFile(path, Array(content))
                let file = RunRecordFile(EventFile(folder: folder, now: { Self.time }))
                try file.begin(after: RunPast(step: step, lines: nil))
                // Without a sound beginning there is a new one.
                let records = max(1, kept)
                let bytes = try readFile(path)
                #expect(count(bytes) == records && whole.starts(with: bytes), "\(step)")
                try file.add(evaluations()[1])
                // What is said again is not written again.
                let isThere = kept >= 3
                #expect(count(try readFile(path)) == (isThere ? records : records + 1))
                try file.add(["event": .string("step"), "step": .integer(301), "loss": .real(1.0)])
                try file.add(evaluations()[1])
                #expect(count(try readFile(path)) == (isThere ? records + 2 : records + 3))
            }
            var damaged = whole
            damaged[20] ^= 1
            #expect(EventFile(folder: folder).pieces(of: damaged, upTo: 300).isEmpty)
        }
    }

    /// Whole records.
    private func count(_ bytes: [UInt8]) -> Int {
        var (place, count) = (0, 0)
        while place < bytes.count {
            let length = bytes[place..<place + 8].reversed().reduce(0) { $0 << 8 | Int($1) }
            place += 12 + length + 4
            count += 1
        }
        return place == bytes.count ? count : -1
    }

    @Test func checksumIsCRC32C() {
        // RFC 3720, B.4: 32 bytes of zeros give 8A9136AA, of ones 62A8AB43.
        let unmasked = { (bytes: [UInt8]) -> UInt32 in
            let rotated = EventFile.maskedChecksum(bytes[...]) &- 0xA282_EAD8
            return rotated << 15 | rotated >> 17
        }
        #expect(unmasked(Array(repeating: 0, count: 32)) == 0x8A91_36AA)
        #expect(unmasked(Array(repeating: 0xFF, count: 32)) == 0x62A8_AB43)
    }

    @Test func tableHasALineAnEvent() throws {
        try withTemporaryFolder { folder in
            let path = folder + "/steps.csv"
            let table = RunRecordFile(StepTable(path: path))
            try table.begin(after: nil)
            for event in try evaluations() { try table.add(event) }
            try table.add(line(.partialEvaluation(data: "a,\"b\"\nc", step: 301, loss: 1, details: [:])))
            let lines = String(decoding: try readFile(path), as: UTF8.self).split(separator: "\n")
            #expect(lines[0] + "\n" == StepTable(path: path).heading)
            let commas = lines[0].count { $0 == "," }
            #expect(lines[1] == "evaluation,3,,0.25,1.0,,,,,,,,,,,dev.json")
            #expect(lines[1...3].allSatisfy { $0.count { $0 == "," } == commas })
            #expect(lines[4].hasSuffix(",\"a,\"\"b\"\" c\""))

            var measured = StepTable(path: folder + "/measures.csv")
            measured.measures = ["accuracy", "f1"]
            let line: JSONObject = [
                "event": .string("evaluation"), "step": .integer(3), "loss": .real(0.5), "accuracy": .real(0.75),
                "f1": .null,
            ]
            #expect(measured.header().starts(with: Array("event,step,epoch,loss,accuracy,f1,learning_rate,".utf8)))
            #expect(measured.piece(of: line)?.starts(with: Array("evaluation,3,,0.5,0.75,,,".utf8)) == true)

            let resumed = RunRecordFile(StepTable(path: path))
            try resumed.begin(after: RunPast(step: 3, lines: nil))
            #expect(try readFile(path) == Array((lines[..<3].joined(separator: "\n") + "\n").utf8))
        }
    }
}
