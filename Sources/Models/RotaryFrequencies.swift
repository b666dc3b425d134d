import Glibc

extension LlamaConfiguration {
    /// The angle that a pair of a head's elements turns by for each position (radians), headSize / 2 of them: base^(-2i/headSize),
    /// changed as `rotaryScaling` says.
    package var inverseFrequencies: [Float] {
        (0..<headSize / 2).map { index in
            let frequency = pow(rotaryBase, -Double(2 * index) / Double(headSize))
            return switch rotaryScaling {
            case .standard: Float(frequency)
            case .linear(let factor): Float(frequency / factor)
            case .factors(let factors): Float(frequency / Double(factors[index]))
            case .llama3(let factor, let low, let high, let original):
                Float(
                    Self.llama3(
                        frequency, factor: factor, low: low, high: high, originalPositions: Double(original)))
            }
        }
    }

    private static func llama3(
        _ frequency: Double, factor: Double, low: Double, high: Double, originalPositions: Double
    ) -> Double {
        let wavelength = 2 * Double.pi / frequency
        if wavelength > originalPositions / low { return frequency / factor }
        if wavelength < originalPositions / high { return frequency }
        let smooth = (originalPositions / wavelength - low) / (high - low)
        return (1 - smooth) * frequency / factor + smooth * frequency
    }
}
