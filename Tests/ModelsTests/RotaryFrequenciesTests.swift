import Models
import TestSupport
import Testing

@Suite struct RotaryFrequenciesTests {
    /// A llama3 scaling with wavelengths in all three of its ranges, as transformers 5 gives it on this model.
    @Test func frequenciesAreTransformersBitForBit() throws {
        let model = try ModelCheckpoint.open(fixture("golden/llama-lora/model"))
        let expected: [Float] = [
            0x1.26f0dcp-1, 0x1.43d136p-5, 0x1.99999ap-7, 0x1.030dc6p-8, 0x1.47ae14p-10, 0x1.9e7c70p-12, 0x1.0624dep-13,
            0x1.4b96c0p-15,
        ]
        #expect(try model.configuration.inverseFrequencies == expected)
    }
}
