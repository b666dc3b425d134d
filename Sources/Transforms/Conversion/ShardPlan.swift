import CheckpointIO

/// How tensors are spread over files of a limited size.
enum ShardPlan {
    /// What Hugging Face's libraries long took for the bytes of one tensor file.
    static let usualByteLimit = 5_000_000_000

    /// Tensors of `sizes` bytes in their order, in files of at most `limit` bytes of data each; a tensor that is larger
    /// has a file of its own. No tensors are one file.
    static func groups(_ sizes: [Int], limit: Int) -> [Range<Int>] {
        var groups: [Range<Int>] = []
        var start = 0
        var bytes = 0
        for (index, size) in sizes.enumerated() {
            let (sum, overflow) = bytes.addingReportingOverflow(size)
            if index > start, overflow || sum > limit {
                groups.append(start..<index)
                start = index
                bytes = size
            } else {
                bytes = sum
            }
        }
        groups.append(start..<sizes.count)
        return groups
    }

    /// The name of file `index` of `count`: `model.safetensors` alone, `model-00002-of-00003.safetensors` of several.
    static func name(_ stem: String, _ index: Int, of count: Int, ending: String) -> String {
        stem + (count == 1 ? "" : ShardIndex.number(index, of: count)) + ending
    }
}
