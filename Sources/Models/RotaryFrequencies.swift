import Glibc

extension ModelConfiguration {
    /// The angle that a pair of a head's elements turns by for each position (radians), headSize / 2 of them:
    /// base^(-2i/headSize), changed as `rotaryScaling` says.
    ///
    /// Every step rounds to F32, as in transformers: what a unit in the last place here turns a late position by is
    /// more than F32 activations lose elsewhere.
    package var inverseFrequencies: [Float] {
        (0..<headSize / 2).map { index in
            let exponent = Float(2 * index) / Float(headSize)
            let frequency = 1 / Float(pow(rotaryBase, Double(exponent)))
            return switch rotaryScaling {
            case .standard: frequency
            case .linear(let factor): frequency / Float(factor)
            case .factors(let factors): frequency / factors[index]
            case .llama3(let factor, let low, let high, let original):
                Self.llama3(
                    frequency, factor: Float(factor), low: Float(low), high: Float(high),
                    originalPositions: Float(original))
            }
        }
    }

    private static func llama3(
        _ frequency: Float, factor: Float, low: Float, high: Float, originalPositions: Float
    ) -> Float {
        let wavelength = Float(2 * Double.pi) / frequency
        if wavelength > originalPositions / low { return frequency / factor }
        if wavelength < originalPositions / high { return frequency }
        let smooth = (originalPositions / wavelength - low) / (high - low)
        return (1 - smooth) * frequency / factor + smooth * frequency
    }
}
