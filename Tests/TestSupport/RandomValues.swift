import TensorCore

/// `count` numbers drawn evenly from `range`; the same for the same seed.
package func randomValues(_ count: Int, seed: UInt64, in range: ClosedRange<Float> = -1...1) -> [Float] {
    var stream = RandomStream(seed: seed)
    let width = Double(range.upperBound - range.lowerBound)
    return (0..<count).map { _ in range.lowerBound + Float(stream.nextUniform() * width) }
}
