import CheckpointIO

/// A model of Fixtures/gguf-names: a GGUF file, and what Tests/Scripts/make_gguf_names.py says of the Hugging Face
/// checkpoint that it was made from.
package struct GGUFNamesFixture: Sendable {
    /// A tensor of the file.
    package struct Tensor: Sendable {
        /// Its name there.
        package let gguf: String
        /// Its name in the checkpoint; nil where it has no one counterpart there.
        package let name: String?
        /// What it is called all the same where the checkpoint has its transpose, or that of it and another.
        package let transposed: String?
        /// Extents in the checkpoint.
        package let shape: [Int]
        private let place: Int

        init(_ entry: JSONValue, place: Int) {
            gguf = entry["gguf"]?.stringValue ?? ""
            name = entry["name"]?.stringValue
            transposed = entry["transposed"]?.stringValue
            shape = entry["shape"]?.arrayValue?.compactMap(\.intValue) ?? []
            self.place = place
        }

        /// The value of an element in the checkpoint.
        package func value(_ element: Int) -> Float { Float((7919 * place + 104_729 * element) % 4096 - 2048) / 1024 }

        /// All of them, row-major.
        package var values: [Float] { (0..<shape.reduce(1, *)).map(value) }
    }

    /// The GGUF file.
    package let path: String
    /// Its tensors.
    package let tensors: [Tensor]

    /// Every model, by `model_type`.
    package static let models = [
        "bert", "gemma2", "gemma3_text", "glm4", "gpt_oss", "granite", "ministral3", "mixtral", "modernbert", "olmo2",
        "olmo3", "phi3", "qwen2", "qwen3_5_text", "qwen3_moe", "roberta", "smollm3",
    ]

    /// Reads a model's list.
    package init(_ model: String) throws {
        path = fixture("gguf-names/\(model).gguf")
        let listing = try JSONValue.parse(try readSmallFile(fixture("gguf-names/names.json"), limit: 1 << 20))
        tensors = (listing[model]?.arrayValue ?? []).enumerated().map { Tensor($0.element, place: $0.offset) }
    }
}
