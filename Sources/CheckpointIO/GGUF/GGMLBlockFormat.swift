import CKernels

/// A block-quantized element format of ggml.
///
/// `known` has the geometry of every format, so that offsets and sizes can be checked and tensors copied whole; every
/// one can be read as numbers. A new format is a line there, and its functions in `CKernels/blocks`.
package struct GGMLBlockFormat: Sendable, Equatable {
    /// The number that GGUF files give it.
    package let number: UInt32
    /// The name that ggml prints, such as `Q4_K`.
    package let name: String
    /// Elements of one block; the last axis of a tensor is a multiple of it.
    package let elementsPerBlock: Int
    /// Bytes of one block.
    package let bytesPerBlock: Int

    private init(_ number: UInt32, _ name: String, elements: Int, bytes: Int) {
        self.number = number
        self.name = name
        elementsPerBlock = elements
        bytesPerBlock = bytes
    }

    /// The formats whose geometry is known, from ggml's table of types; Q8_1 and Q8_K are ggml's for
    /// activations, and not found in files of models.
    package static let known: [GGMLBlockFormat] = [
        GGMLBlockFormat(2, "Q4_0", elements: 32, bytes: 18),
        GGMLBlockFormat(3, "Q4_1", elements: 32, bytes: 20),
        GGMLBlockFormat(6, "Q5_0", elements: 32, bytes: 22),
        GGMLBlockFormat(7, "Q5_1", elements: 32, bytes: 24),
        GGMLBlockFormat(8, "Q8_0", elements: 32, bytes: 34),
        GGMLBlockFormat(9, "Q8_1", elements: 32, bytes: 36),
        GGMLBlockFormat(10, "Q2_K", elements: 256, bytes: 84),
        GGMLBlockFormat(11, "Q3_K", elements: 256, bytes: 110),
        GGMLBlockFormat(12, "Q4_K", elements: 256, bytes: 144),
        GGMLBlockFormat(13, "Q5_K", elements: 256, bytes: 176),
        GGMLBlockFormat(14, "Q6_K", elements: 256, bytes: 210),
        GGMLBlockFormat(15, "Q8_K", elements: 256, bytes: 292),
        GGMLBlockFormat(16, "IQ2_XXS", elements: 256, bytes: 66),
        GGMLBlockFormat(17, "IQ2_XS", elements: 256, bytes: 74),
        GGMLBlockFormat(18, "IQ3_XXS", elements: 256, bytes: 98),
        GGMLBlockFormat(19, "IQ1_S", elements: 256, bytes: 50),
        GGMLBlockFormat(20, "IQ4_NL", elements: 32, bytes: 18),
        GGMLBlockFormat(21, "IQ3_S", elements: 256, bytes: 110),
        GGMLBlockFormat(22, "IQ2_S", elements: 256, bytes: 82),
        GGMLBlockFormat(23, "IQ4_XS", elements: 256, bytes: 136),
        GGMLBlockFormat(29, "IQ1_M", elements: 256, bytes: 56),
        GGMLBlockFormat(34, "TQ1_0", elements: 256, bytes: 54),
        GGMLBlockFormat(35, "TQ2_0", elements: 256, bytes: 66),
        GGMLBlockFormat(39, "MXFP4", elements: 32, bytes: 17),
        GGMLBlockFormat(40, "NVFP4", elements: 64, bytes: 36),
        GGMLBlockFormat(41, "Q1_0", elements: 128, bytes: 18),
        GGMLBlockFormat(42, "Q2_0", elements: 64, bytes: 18),
    ]

    /// The format with ggml's number, if it is known.
    package init?(number: UInt32) {
        guard let format = Self.known.first(where: { $0.number == number }) else { return nil }
        self = format
    }

    /// The format with ggml's name, such as `Q8_0`, if it is known.
    package init?(name: String) {
        guard let format = Self.known.first(where: { $0.name == name }) else { return nil }
        self = format
    }

    /// Writes `blocks * elementsPerBlock` floats decoded from `blocks` blocks at any alignment.
    func decode(_ source: UnsafeRawPointer, into destination: UnsafeMutablePointer<Float>, blocks: Int) {
        guard let decoder = tspeft_block_decoder_at(tspeft_cpu_level(), number) else {
            preconditionFailure("\(name) has no decoder")
        }
        decoder(source, destination, blocks)
    }
}
