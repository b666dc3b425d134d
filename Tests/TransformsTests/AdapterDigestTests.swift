import Adapters
import CheckpointIO
import Models
import TestSupport
import Testing

@testable import Transforms

@Suite struct AdapterDigestTests {
    /// Records of merges hold digests, so they must stay what they were.
    @Test func digestsOfAnAdapterAreAlwaysTheSame() throws {
        let adapter = try AdapterDirectory.read(fixture("golden/llama-lora-dense/adapter"))
        #expect(adapter.formerDigest == "3705258ea82b15e0")
        #expect(adapter.digest == "2-443a4c2a4cdf1321")
    }

    /// Values that stay in the file are hashed in parts, on several threads.
    @Test func valuesInAFileHaveTheDigestOfHeldOnes() throws {
        let path = fixture("golden/llama-lora-dense/adapter")
        let (held, stored) = (
            try AdapterDirectory.read(path), try AdapterDirectory.read(path, takingExtras: true)
        )
        #expect(stored.digest == held.digest && stored.formerDigest == held.formerDigest)
    }

    /// Each number counts, wherever it stands, with its sign and its order.
    @Test(arguments: [1, 7, 8, 9, 63, 200_000]) func anyOtherNumberIsAnotherHash(count: Int) {
        func hash(_ values: [Float], parts: Int = 1) -> UInt64 {
            var hash = ValueHash()
            let step = max(8, count / parts / 8 * 8)
            values.withUnsafeBufferPointer { all in
                for start in stride(from: 0, to: all.count, by: step) {
                    hash.add(UnsafeBufferPointer(rebasing: all[start..<min(all.count, start + step)]))
                }
            }
            return hash.value
        }
        let values = (0..<count).map { Float($0) * 0.5 }
        let whole = hash(values)
        #expect(hash(values, parts: 3) == whole)
        for place in Set([0, count / 3, count / 2, count - 1]) {
            var other = values
            other[place] = other[place] == 0 ? -0.0 : -other[place]
            #expect(hash(other) != whole)
            guard place > 0 else { continue }
            other = values
            other.swapAt(place, place - 1)
            #expect(hash(other) != whole)
        }
        #expect(hash(Array(values.dropLast())) != whole)
    }

    @Test func mergesThatFormerVersionsRecordedAreKnown() throws {
        try withTemporaryFolder { folder in
            _ = try OddModel.base(in: folder)
            let adapter = try OddModel.adapter(.lora, path: "a")
            func record(_ digest: String) throws {
                try writeFile(
                    folder + "/base/" + MergeRecord.fileName,
                    #"{"format": 1, "merges": [{"adapter": {"digest": "\#(digest)"}}]}"#)
            }
            for digest in [adapter.formerDigest, adapter.digest] {
                try record(digest)
                let error = #expect(throws: TransformError.self) {
                    try CheckpointMerge(base: ModelCheckpoint.open(folder + "/base"), adapter: adapter)
                }
                #expect(error?.description.contains("has this adapter in it already") == true)
            }
            try record("0123456789abcdef")
            _ = try CheckpointMerge(base: ModelCheckpoint.open(folder + "/base"), adapter: adapter)
        }
    }
}
